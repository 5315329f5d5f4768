"""What the stages stand on: AWS clients, the queue, objects to read, and the one place that creates files."""

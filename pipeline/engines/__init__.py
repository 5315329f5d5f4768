"""The runtimes of an engine, Flink or Dataflow: Beam's flags, the job, and the watch over it."""

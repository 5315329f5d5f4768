"""What flows and what is stored: Avro schemas, the Arrow schemas derived from them, small frozen values."""

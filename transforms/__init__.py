"""The stages, one file each: a pure function and a same-named PTransform."""

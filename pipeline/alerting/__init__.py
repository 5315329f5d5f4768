"""Alerts: what is decided over all detections and profiles, when asked, and to whom it is delivered."""

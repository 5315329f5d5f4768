"""A seeded organisation's trail and an emulated AWS to pour it into; nothing here reaches beyond loopback."""

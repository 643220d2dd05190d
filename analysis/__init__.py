"""Tables, fronts and figures of measured schedules. Nothing here runs a model."""

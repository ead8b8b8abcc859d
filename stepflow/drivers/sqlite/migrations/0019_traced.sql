-- The context of the trace that published an event, so that the step which takes it is linked with that; null without one.
ALTER TABLE stepflow_events ADD COLUMN traceparent TEXT;

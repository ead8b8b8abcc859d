-- The context of the trace that published an event, so that the step which takes it is linked with that; null without one.
alter table stepflow.events add column traceparent text;

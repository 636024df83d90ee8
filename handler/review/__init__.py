"""What was scored is looked back on: how it drifts, what another model says of it, what really came."""

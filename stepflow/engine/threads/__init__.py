"""Event loops, threads, and what one of them waits for of another: the ground on which the other rooms of the engine stand."""

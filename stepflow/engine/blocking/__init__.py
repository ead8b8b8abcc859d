"""The blocking faces: Engine, Run and the verbs on States for threads that may wait."""

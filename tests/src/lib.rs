//! End-to-end tests of real agents, and checks of the tree itself: see `tests/`.

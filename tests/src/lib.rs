//! Harness of the tests on a real kernel.

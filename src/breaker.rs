//! The cost circuit breaker: how much has been spent in a window, and what still runs at that level.
//!
//! Pure: it is told what was spent and when, and says the level. Who asks it and what is refused then is the
//! business of the phases.

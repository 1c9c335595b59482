//! Signatures of answers: the Model Gateway's `titan` scheme, and `v1`, which covers the whole exchange.

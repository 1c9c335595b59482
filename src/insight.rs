//! Insights: every finished request as a record that can be asked about.

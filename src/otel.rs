//! OpenTelemetry: traces and metrics over OTLP, by the semantic conventions for generative AI.

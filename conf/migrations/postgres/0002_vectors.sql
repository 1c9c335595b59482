-- Applied only where the extension pgvector can be had.
CREATE EXTENSION IF NOT EXISTS vector;
ALTER TABLE model_insights
    ADD COLUMN request_embedding vector(384),
    ADD COLUMN response_embedding vector(384);

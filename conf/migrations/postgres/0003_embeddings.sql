-- Which embedding a row has; a row with a name and no embedding has a text of which there is none. Vectors
-- of different names are never compared.
ALTER TABLE model_insights ADD COLUMN embedding_name text;
CREATE INDEX model_insights_embedding ON model_insights (embedding_name, at_ms) WHERE messages IS NOT NULL;
CREATE INDEX model_insights_embedding_model ON model_insights (model, embedding_name)
    WHERE request_embedding IS NOT NULL;
CREATE INDEX model_insights_request_embedding ON model_insights
    USING hnsw (request_embedding vector_cosine_ops);

-- What was made of a text goes with it.
CREATE FUNCTION model_insights_text_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.request_embedding := NULL;
    NEW.response_embedding := NULL;
    NEW.embedding_name := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER model_insights_text_gone BEFORE UPDATE OF messages ON model_insights
    FOR EACH ROW WHEN (NEW.messages IS NULL AND OLD.messages IS NOT NULL)
    EXECUTE FUNCTION model_insights_text_gone();

-- Which embedding a row has; a row with a name and no embedding has a text of which there is none. Vectors
-- of different names are never compared.
ALTER TABLE model_insights ADD COLUMN embedding_name TEXT;
CREATE INDEX model_insights_embedding ON model_insights (embedding_name, at_ms) WHERE messages IS NOT NULL;

-- The request's embedding with eight bits a number: small enough to be gone through. `seq` grows in the order
-- in which rows were embedded, and none comes twice.
CREATE TABLE insight_codes (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    attempt_id TEXT NOT NULL UNIQUE REFERENCES model_insights (attempt_id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    model      TEXT NOT NULL,
    step       REAL NOT NULL,
    codes      BLOB NOT NULL
);

-- What was made of a text goes with it.
CREATE TRIGGER model_insights_text_gone AFTER UPDATE OF messages ON model_insights
WHEN NEW.messages IS NULL AND OLD.messages IS NOT NULL
BEGIN
    UPDATE model_insights SET request_embedding = NULL, response_embedding = NULL, embedding_name = NULL
    WHERE attempt_id = NEW.attempt_id;
    DELETE FROM insight_codes WHERE attempt_id = NEW.attempt_id;
END;

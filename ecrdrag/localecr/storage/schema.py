"""Own the tables of the metadata file.

The database may enter; the files beside it that ask and change them are named at each table.
"""

from typing import Final

SCHEMA: Final = """
-- repositories.py
CREATE TABLE repository (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
    created REAL NOT NULL, settings TEXT NOT NULL,
    UNIQUE (account, region, name)
);
-- settings.py: documents of a whole registry, and of one repository; value is JSON
CREATE TABLE registry_setting (
    account TEXT NOT NULL, region TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    value TEXT NOT NULL, created REAL NOT NULL, changed REAL NOT NULL,
    PRIMARY KEY (account, region, kind, name)
) WITHOUT ROWID;
CREATE TABLE repository_setting (
    repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE,
    kind TEXT NOT NULL, name TEXT NOT NULL,
    value TEXT NOT NULL, created REAL NOT NULL, changed REAL NOT NULL,
    PRIMARY KEY (repository, kind, name)
) WITHOUT ROWID;
-- layers.py
CREATE TABLE layer (
    repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE,
    digest TEXT NOT NULL, size INTEGER NOT NULL, added REAL NOT NULL,
    idle REAL NOT NULL DEFAULT 0, -- since when no image is known to refer to it
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX layer_by_digest ON layer (digest);
CREATE TABLE upload (
    id TEXT PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE,
    touched REAL NOT NULL, received INTEGER NOT NULL DEFAULT 0, parts INTEGER NOT NULL DEFAULT 0,
    last_part INTEGER NOT NULL DEFAULT 0, too_small INTEGER NOT NULL DEFAULT 0,
    first_part INTEGER NOT NULL DEFAULT 0
);
-- images.py: status and the times beside it are those of ImageDetail; 0 is never
CREATE TABLE image (
    repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE,
    digest TEXT NOT NULL, media_type TEXT NOT NULL, artifact_type TEXT NOT NULL, subject TEXT NOT NULL,
    size INTEGER NOT NULL, pushed REAL NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0,
    archived_at REAL NOT NULL DEFAULT 0, activated_at REAL NOT NULL DEFAULT 0, pulled_at REAL NOT NULL DEFAULT 0,
    raw BLOB NOT NULL, -- last: SQLite reads through all that stands before a column
    PRIMARY KEY (repository, digest)
);
CREATE INDEX image_by_subject ON image (repository, subject, digest) WHERE subject <> '';
CREATE TABLE reference (
    repository INTEGER NOT NULL, parent TEXT NOT NULL, child TEXT NOT NULL, media_type TEXT NOT NULL,
    PRIMARY KEY (repository, parent, child),
    FOREIGN KEY (repository, parent) REFERENCES image ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX reference_by_child ON reference (repository, child);
CREATE TRIGGER reference_wakes_layer AFTER INSERT ON reference BEGIN
    UPDATE layer SET idle = 0 WHERE repository = NEW.repository AND digest = NEW.child AND idle <> 0;
END;
CREATE TABLE tag (
    repository INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, created REAL NOT NULL,
    PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, digest) REFERENCES image ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX tag_by_digest ON tag (repository, digest);
"""

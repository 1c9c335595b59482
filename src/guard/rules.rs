//! The files of rules: `conf/guard/*.yaml`, bundled, and a person's own beside them.

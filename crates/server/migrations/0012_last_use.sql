-- When an enrollment key last let a machine ask: a token that lies in a script for months shows that it still works.
ALTER TABLE enrollment_keys ADD COLUMN last_used_at timestamptz;

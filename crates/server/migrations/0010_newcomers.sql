-- Newcomers: machines that wait for a decision, and people who are invited.

-- How often a waiting machine was given another key: whoever approves it then has to say which one she means.
ALTER TABLE agents ADD COLUMN key_changes integer NOT NULL DEFAULT 0;

-- Policies that permit add up, so what app_invites asked of an account did not hold for work on the platform, which
-- app_context permits by itself. What only forbids holds for everybody: nobody is made platform admin, and nobody is
-- given a password, by inserting. That an account may be made for another partner's person stays a permission.
DROP POLICY app_invites ON users;
CREATE POLICY app_invites ON users FOR INSERT TO gururmm_app WITH CHECK ((SELECT app_tenant()) IS NOT NULL);
CREATE POLICY app_invites_only ON users AS RESTRICTIVE FOR INSERT TO gururmm_app
  WITH CHECK (NOT is_platform_admin AND status = 'invited' AND password_hash IS NULL);

#include "farfield/services/auth/tables.hpp"

namespace farfield::services::auth {

const std::vector<store::Migration>& migrations() {
  // Times are seconds since 1970. Secrets, codes and refresh tokens stand here as their SHA-256 only.
  static const std::vector<store::Migration> all{{1, "first", R"(
CREATE TABLE auth_user (id TEXT PRIMARY KEY, name TEXT NOT NULL, password TEXT, administrator {int64} NOT NULL,
  disabled {int64} NOT NULL, failures {int64} NOT NULL, locked_until_s {int64} NOT NULL, created_s {int64} NOT NULL);
CREATE TABLE auth_client (id TEXT PRIMARY KEY, secret TEXT, redirects TEXT NOT NULL, scopes TEXT NOT NULL,
  created_s {int64} NOT NULL);
CREATE TABLE auth_group (id TEXT PRIMARY KEY);
CREATE TABLE auth_member (group_id TEXT NOT NULL REFERENCES auth_group(id), subject TEXT NOT NULL,
  PRIMARY KEY (group_id, subject));
CREATE INDEX auth_member_subject ON auth_member(subject);
CREATE TABLE auth_experiment (id TEXT PRIMARY KEY, created_s {int64} NOT NULL);
CREATE TABLE auth_role (experiment TEXT NOT NULL REFERENCES auth_experiment(id), subject TEXT NOT NULL,
  role {int64} NOT NULL, PRIMARY KEY (experiment, subject));
CREATE INDEX auth_role_subject ON auth_role(subject);
CREATE TABLE auth_grant (id TEXT PRIMARY KEY, subject TEXT NOT NULL, client TEXT NOT NULL, scope TEXT NOT NULL,
  created_s {int64} NOT NULL, expires_s {int64} NOT NULL, revoked {int64} NOT NULL);
CREATE INDEX auth_grant_subject ON auth_grant(subject);
CREATE TABLE auth_refresh (hash TEXT PRIMARY KEY, grant_id TEXT NOT NULL REFERENCES auth_grant(id),
  used {int64} NOT NULL);
CREATE TABLE auth_code (hash TEXT PRIMARY KEY, client TEXT NOT NULL, subject TEXT NOT NULL, redirect TEXT NOT NULL,
  challenge TEXT NOT NULL, scope TEXT NOT NULL, expires_s {int64} NOT NULL, grant_id TEXT);
CREATE TABLE auth_device (hash TEXT PRIMARY KEY, user_code TEXT NOT NULL UNIQUE, client TEXT NOT NULL,
  scope TEXT NOT NULL, state TEXT NOT NULL, subject TEXT, expires_s {int64} NOT NULL, interval_s {int64} NOT NULL,
  polled_s {int64} NOT NULL);
CREATE TABLE auth_revoked (number {id}, token TEXT NOT NULL, until_s {int64} NOT NULL);
)"},
                                                 {2, "a refresh token's successor", R"(
ALTER TABLE auth_refresh ADD COLUMN used_s {int64} NOT NULL DEFAULT 0;
ALTER TABLE auth_refresh ADD COLUMN successor TEXT;
)"},
                                                 {3, "who may act as a service identity", R"(
CREATE TABLE auth_actor (service TEXT NOT NULL, subject TEXT NOT NULL, PRIMARY KEY (service, subject));
ALTER TABLE auth_grant ADD COLUMN permitted TEXT NOT NULL DEFAULT '';
ALTER TABLE auth_grant ADD COLUMN behalf TEXT NOT NULL DEFAULT '';
CREATE INDEX auth_grant_behalf ON auth_grant(behalf);
)"}};
  return all;
}

}  // namespace farfield::services::auth

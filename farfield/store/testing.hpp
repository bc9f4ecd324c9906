#pragma once
// Databases for tests: a SQLite file in a temporary folder, and a PostgreSQL server of the test program's own. For
// tests of this and other rooms.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "farfield/core/testing.hpp"
#include "farfield/store/database.hpp"

namespace farfield::store::testing {

using core::testing::TemporaryFolder;

/// A server on a Unix socket in a temporary folder, without TCP; ends with the object.
class PostgresServer {
public:
  PostgresServer() {
    namespace fs = std::filesystem;
#ifndef FARFIELD_WITH_POSTGRES
    why_not_ = "built without PostgreSQL (FARFIELD_WITH_POSTGRES)";
    return;
#endif
    for (const char* version : {"18", "17", "16", "15", "14", "13"})
      if (const fs::path bin = fs::path("/usr/lib/postgresql") / version / "bin"; fs::exists(bin / "initdb")) {
        bin_ = bin;
        break;
      }
    if (bin_.empty()) {
      why_not_ = "no PostgreSQL server in /usr/lib/postgresql";
      return;
    }
    // The server refuses to run as root: there is an account for it.
    const std::string data = folder("data"), sockets = folder("sockets");
    fs::create_directories(sockets);
    fs::permissions(folder_.path(), fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec |
                                        fs::perms::group_read | fs::perms::others_read);
    if (geteuid() == 0 && std::system(("chown postgres " + folder_.path().string() + " " + sockets).c_str()) != 0) {
      why_not_ = "no account named postgres";
      return;
    }
    if (!run("initdb -D " + data + " -A trust -U postgres --no-locale -E UTF8 --no-sync")) {
      why_not_ = "initdb failed: " + log();
      return;
    }
    // A test can kill the server, not the machine: what the kernel has been given is safe without fsync.
    std::ofstream(data + "/postgresql.conf", std::ios::app)
        << "listen_addresses=''\nunix_socket_directories='" << sockets << "'\nshared_buffers=64MB\nfsync=off\n";
    if (!start()) why_not_ = "the server did not start: " + log();
  }
  ~PostgresServer() {
    if (running_) stop("immediate");
  }
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  bool start() {
    running_ = run("pg_ctl -D " + folder("data") + " -w -t 60 -l " + folder("data") + "/log start");
    return running_;
  }
  /// "fast" ends transactions; "immediate" is as if the machine had lost power, short of the page cache.
  void stop(const std::string& mode) {
    run("pg_ctl -D " + folder("data") + " -w -m " + mode + " stop");
    running_ = false;
  }
  bool running() const { return running_; }
  const std::string& why_not() const { return why_not_; }
  std::string address() const { return "postgresql://postgres@/postgres?host=" + folder("sockets"); }

private:
  std::string folder(const char* name) const { return (folder_.path() / name).string(); }
  bool run(const std::string& command) const {
    const std::string as_postgres = geteuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --init-groups " : "";
    return std::system(
               ("cd / && " + as_postgres + bin_.string() + "/" + command + " >" + folder("out") + " 2>&1 </dev/null")
                   .c_str()) == 0;
  }
  std::string log() const {
    std::ostringstream text;
    text << std::ifstream(folder("out")).rdbuf();
    return text.str();
  }

  TemporaryFolder folder_;
  std::filesystem::path bin_;
  std::string why_not_;
  bool running_ = false;
};

/// The test program's server, started at the first use.
inline PostgresServer& postgres() {
  static PostgresServer server;
  return server;
}

/// An empty database of one kind. In SetUp(): `if (!database.prepare(GetParam())) return;`
class TestDatabase {
public:
  /// False: not to be had here; the test is marked as skipped, or failed where FARFIELD_REQUIRE_REAL=1.
  bool prepare(const std::string& kind) {
    if (kind == "sqlite") {
      address_ = "sqlite:" + (folder_.path() / "test.db").string();
      return true;
    }
    PostgresServer& server = postgres();
    if (!server.running() && server.why_not().empty()) server.start();
    if (!server.running()) {
      missing(server.why_not());
      return false;
    }
    address_ = server.address();
    // Tables of the test before are gone.
    Database::open(address_)->write([](Transaction& t) {
      t.execute("DROP SCHEMA public CASCADE");
      t.execute("CREATE SCHEMA public");
    });
    return true;
  }
  const std::string& address() const { return address_; }
  std::unique_ptr<Database> open(const DatabaseOptions& options = {}) const {
    return Database::open(address_, options);
  }

private:
  static void missing(const std::string& reason) { FARFIELD_SKIP(reason); }
  TemporaryFolder folder_;
  std::string address_;
};

/// A fixture whose tests run on each kind of database:
/// INSTANTIATE_TEST_SUITE_P(Each, MyTests, store::testing::kinds(), store::testing::kind_name);
class EachDatabase : public ::testing::TestWithParam<std::string> {
protected:
  void SetUp() override { database_.prepare(GetParam()); }
  TestDatabase database_;
};
inline auto kinds() { return ::testing::Values(std::string("sqlite"), std::string("postgresql")); }
inline std::string kind_name(const ::testing::TestParamInfo<std::string>& info) { return info.param; }

}  // namespace farfield::store::testing

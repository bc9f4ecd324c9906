// farfield user, group, identity and experiment, with a service as it is shipped.

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/farfield/testing_service.hpp"

namespace farfield::apps {
namespace {
namespace fs = std::filesystem;
using core::ErrorCode;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class DirectoryCommands : public testing::ServiceTest {
protected:
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(folder / name) << text;
    return folder / name;
  }
  services::auth::Directory& directory() const { return service->access().issuer().directory(); }
};

TEST_F(DirectoryCommands, UsersComeGoAndComeBack) {
  const std::string password = file("password", "correct horse\nnot this\n");
  EXPECT_EQ(run({"user", "add", "garcia", "--full-name=Ana Garcia", "--password-file=" + password}).out,
            "user:garcia\n");
  EXPECT_TRUE(directory().check_password("garcia", "correct horse"));
  EXPECT_EQ(run({"user", "add", "garcia"}).code, exit_code(ErrorCode::conflict));
  EXPECT_EQ(run({"user", "add", "no name"}).code, exit_code(ErrorCode::invalid_argument));

  const json made = json::parse(run({"user", "add", "lee", "--administrator", "--json"}).out);
  EXPECT_TRUE(directory().check_password("lee", made.at("password")));
  EXPECT_EQ(run({"user", "password", "lee", "--password-file=" + password}).out, "changed\n");
  EXPECT_FALSE(directory().check_password("lee", made.at("password")));

  EXPECT_EQ(run({"user", "lock", "garcia"}).code, 0);
  EXPECT_FALSE(directory().active("user:garcia"));
  const std::string list = run({"user", "list"}).out;
  EXPECT_THAT(list, HasSubstr("Ana Garcia"));
  EXPECT_THAT(list, HasSubstr("locked"));
  EXPECT_EQ(run({"user", "unlock", "garcia"}).code, 0);
  EXPECT_TRUE(directory().active("user:garcia"));
  EXPECT_EQ(run({"user", "lock", "nobody"}).code, exit_code(ErrorCode::not_found));
}

TEST_F(DirectoryCommands, SecretsGoIntoAFileOfTheirOwner) {
  const std::string secret = folder / "secret";
  const auto added =
      run({"identity", "add", "cluster", "--scopes=compute.endpoint,farfield", "--secret-file=" + secret});
  ASSERT_EQ(added.code, 0);
  std::string told;
  std::ifstream(secret) >> told;
  EXPECT_TRUE(directory().check_secret("cluster", told));
  EXPECT_THAT(added.out, Not(HasSubstr(told)));
  EXPECT_EQ(fs::status(secret).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_THAT(run({"identity", "list"}).out, HasSubstr("compute.endpoint farfield"));

  // A file that is there is not replaced, and nothing has happened.
  EXPECT_EQ(run({"identity", "secret", "cluster", "--secret-file=" + secret}).code, exit_code(ErrorCode::conflict));
  EXPECT_TRUE(directory().check_secret("cluster", told));
  const json renewed = json::parse(run({"identity", "secret", "cluster", "--json"}).out);
  EXPECT_FALSE(directory().check_secret("cluster", told));
  EXPECT_TRUE(directory().check_secret("cluster", renewed.at("client_secret").get<std::string>()));

  // What the service refuses leaves no file.
  const std::string other = folder / "other";
  EXPECT_EQ(run({"identity", "add", "cluster", "--scopes=farfield", "--secret-file=" + other}).code,
            exit_code(ErrorCode::conflict));
  EXPECT_FALSE(fs::exists(other));
  EXPECT_EQ(run({"identity", "add", "beamline"}).code, exit_code(ErrorCode::invalid_argument));
  EXPECT_EQ(run({"identity", "remove", "cluster"}).code, 0);
  EXPECT_EQ(run({"identity", "list"}).out, "");
}

TEST_F(DirectoryCommands, GroupsHaveRolesInExperiments) {
  run({"user", "add", "lee"});
  EXPECT_EQ(run({"group", "add", "optics"}).out, "group:optics\n");
  EXPECT_EQ(run({"group", "join", "optics", "user:lee"}).code, 0);
  EXPECT_EQ(run({"group", "join", "optics", "user:nobody"}).code, exit_code(ErrorCode::not_found));
  EXPECT_THAT(run({"group", "list"}).out, HasSubstr("user:lee"));

  EXPECT_EQ(json::parse(run({"experiment", "add", "2026-2-Lee-1", "--json"}).out).at("roles").at(0).at("subject"),
            "user:admin");
  EXPECT_THAT(run({"experiment", "role", "2026-2-Lee-1", "group:optics", "member"}).out,
              HasSubstr("member   group:optics"));
  EXPECT_EQ(directory().role("user:lee", "2026-2-Lee-1"), services::auth::Role::member);
  EXPECT_EQ(run({"experiment", "role", "2026-2-Lee-1", "user:admin", "none"}).code, exit_code(ErrorCode::conflict));
  EXPECT_EQ(run({"experiment", "role", "2026-2-Lee-1", "group:optics", "king"}).code,
            exit_code(ErrorCode::invalid_argument));
  EXPECT_EQ(run({"experiment", "role", "2026-2-Lee-1", "group:optics", "none"}).code, 0);
  EXPECT_THAT(run({"experiment", "show", "2026-2-Lee-1"}).out, Not(HasSubstr("optics")));
  const std::string list = run({"experiment", "list"}).out;
  EXPECT_THAT(list, HasSubstr(kExperiment));
  EXPECT_THAT(list, HasSubstr("2026-2-Lee-1"));
  run({"group", "leave", "optics", "user:lee"});
  EXPECT_THAT(run({"group", "list"}).out, Not(HasSubstr("user:lee")));
}

TEST_F(DirectoryCommands, PeopleActAsIdentities) {
  run({"user", "add", "lee"});
  run({"identity", "add", "recon", "--scopes=farfield"});
  EXPECT_EQ(run({"identity", "permit", "recon", "user:lee"}).out, "permitted\n");
  EXPECT_TRUE(directory().may_act_as("user:lee", "service:recon"));
  EXPECT_THAT(run({"identity", "list"}).out, HasSubstr("farfield; act as it: user:lee\n"));
  EXPECT_EQ(run({"identity", "permit", "nobody", "user:lee"}).code, exit_code(ErrorCode::not_found));
  EXPECT_EQ(run({"identity", "forbid", "recon", "user:lee"}).out, "forbidden\n");
  EXPECT_FALSE(directory().may_act_as("user:lee", "service:recon"));
}

TEST_F(DirectoryCommands, RunsActAsIdentities) {
  run({"identity", "add", "recon", "--scopes=farfield"});
  run({"identity", "permit", "recon", "user:admin"});
  const std::string flow = file("flow.json", R"({"StartAt": "A", "States": {
    "A": {"Type": "Action", "ActionUrl": "farfield:echo", "RunAs": "Recon", "Parameters": {}, "ResultPath": "$.a", "Next": "B"},
    "B": {"Type": "Action", "ActionUrl": "farfield:echo", "RunAs": "Flow", "Parameters": {}, "ResultPath": "$.b", "End": true}}})");
  const std::string service_option = "--service=" + service->origin();
  std::string id = run({"flow", "deploy", flow, "--identity=service:recon", service_option}).out;
  ASSERT_FALSE(id.empty());
  id.pop_back();
  EXPECT_EQ(run({"flow", "run", id, service_option}).code, exit_code(ErrorCode::invalid_argument));
  EXPECT_EQ(run({"flow", "run", id, "--role=Recon", service_option}).code, exit_code(ErrorCode::invalid_argument));
  EXPECT_EQ(run({"flow", "run", id, "--role=Recon=service:recon", service_option}).code, 0);
  run({"identity", "forbid", "recon", "user:admin"});
  EXPECT_EQ(run({"flow", "run", id, "--role=Recon=service:recon", service_option}).code,
            exit_code(ErrorCode::forbidden));
  // A database of one's own has no identities.
  EXPECT_EQ(
      run({"flow", "run", flow, "--role=Recon=service:recon", "--database=sqlite:" + (folder / "own.db").string()})
          .code,
      exit_code(ErrorCode::invalid_argument));
}

// Lists come in parts of 1000.
TEST_F(DirectoryCommands, LongListsAreWhole) {
  for (int i = 0; i < 1100; ++i) directory().add_group("g" + std::to_string(i));
  const std::string list = run({"group", "list"}).out;
  EXPECT_EQ(std::count(list.begin(), list.end(), '\n'), 1100);
}

}  // namespace
}  // namespace farfield::apps

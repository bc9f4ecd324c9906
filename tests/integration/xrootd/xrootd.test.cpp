// A real XRootD server with the SciTokens plug-in takes this issuer's tokens: for the experiment and the action that
// they name, and nothing else. And it is a place of transfers.

#include "tests/integration/xrootd/xrootd_server.hpp"

#include "farfield/services/transfer/provider_conformance.hpp"
#include "farfield/services/transfer/testing_federation.hpp"
#include "farfield/services/transfer/xrootd/xrootd.hpp"

namespace farfield::tests {
namespace {

/// One server for all tests of this program.
XRootDServer& xrootd() {
  static XRootDServer server;
  return server;
}

class XRootD : public ::testing::Test {
protected:
  void SetUp() override {
    if (const auto& why = xrootd().why_not(); !why.empty()) FARFIELD_SKIP(why);
  }
  static std::string token(const std::string& scope, const std::string& audience = kAudience, std::int64_t age_s = 0) {
    return xrootd().token(scope, audience, age_s);
  }
  static net::ClientResponse request(const std::string& method, const std::string& experiment, const std::string& with,
                                     const std::string& name = "scan.dat") {
    return xrootd().request(method, experiment, with, name);
  }
};

TEST_F(XRootD, TakesTokensForWhatTheyNameAndNothingElse) {
  const std::string read = fmt::format("read:/experiments/{}", kMine),
                    write = fmt::format("write:/experiments/{}", kMine);
  const auto own = request("GET", kMine, token(read));
  EXPECT_EQ(own.status, 200) << own.body;
  EXPECT_EQ(own.body, std::string(100'000, 'x') + kMine);
  EXPECT_EQ(request("GET", kMine, token(read + "/scan.dat")).status, 200);
  EXPECT_TRUE(request("PUT", kMine, token(read + " " + write), "new.dat").ok());
  EXPECT_EQ(fs::file_size(xrootd().data(kMine) / "new.dat"), 3U);

  const auto refused = [](const net::ClientResponse& response) {
    return response.status == 403 || response.status == 401;
  };
  EXPECT_TRUE(refused(request("GET", kOther, token(read))));
  EXPECT_TRUE(refused(request("PUT", kMine, token(read), "other.dat")));
  EXPECT_TRUE(refused(request("GET", kMine, token(fmt::format("read:/experiments/{}/raw", kMine)))));
  EXPECT_TRUE(refused(request("GET", kMine, token("farfield"))));
  EXPECT_TRUE(refused(request("GET", kMine, "")));
  EXPECT_TRUE(refused(request("GET", kMine, token(read, "https://other.test"))));
  EXPECT_TRUE(refused(request("GET", kMine, token(read, kAudience, 3600))));
  const core::testing::TemporaryFolder keys_folder;
  auth::KeyRing thief(keys_folder / "thief", auth::system_unix_time);
  EXPECT_TRUE(refused(request("GET", kMine, thief.sign(auth::claims_json({})))));
  EXPECT_FALSE(fs::exists(xrootd().data(kMine) / "other.dat"));
}

std::unique_ptr<services::transfer::Provider> place(const fs::path& folder, const std::string& scope) {
  const fs::path below = fs::relative(folder, xrootd().data(""));
  return services::transfer::xrootd_provider(
      {xrootd().roots(), "/experiments/" + below.string(), [scope] { return xrootd().token(scope); }});
}

/// As a service does it: places by name, tokens of the submitter for each of them.
TEST_F(XRootD, ATaskOfAServiceGoesFromAnAgentToTheServerAndBack) {
  namespace transfer = services::transfer;
  const core::testing::TemporaryFolder folder;
  const auto database = store::Database::open("sqlite:" + (folder / "service.db").string());
  std::function<bool(const std::string&)> audience;
  auth::testing::IssuerFixture issuer(*database, xrootd().keys_folder(),
                                      [&](const std::string& url) { return audience(url); });
  issuer.now_s = auth::system_unix_time();  // the server has no other clock
  transfer::Places places(*database, issuer.clock());
  audience = [&](const std::string& url) { return places.is_audience(url); };
  const transfer::testing::TestAgent agent(folder / "agent", issuer);
  places.put({"beamline", agent.server->origin(), agent.certificate(), "service:agent", 0, 0});
  places.put(
      {"storage", xrootd().roots(), "", "user:other", 0, 0, transfer::PlaceKind::xrootd, "/experiments", kAudience});
  const core::SteadyClock clock;
  transfer::Tasks tasks(*database, transfer::place_resolver(places, issuer.issuer), clock);
  const auto move = [&](const std::string& from, const std::string& to, const std::string& path,
                        const std::string& there) {
    transfer::TaskRequest request;
    request.source = from + "/" + kMine;
    request.destination = to + "/" + kMine;
    request.items = {{path, there, true}};
    request.owner = "user:garcia";
    request.grant = issuer.issuer.delegate(request.owner, "cli", transfer::needed_scope(request), 600);
    return tasks.wait(tasks.submit(request), 60);
  };
  const std::string content = transfer::testing::random_text(9 << 20, 3);
  transfer::testing::write_plain(agent / (std::string(kMine) + "/scan/large"), content);
  transfer::testing::write_plain(agent / (std::string(kMine) + "/scan/sub/small"), "small");
  const auto there = move("beamline", "storage", "scan", "stored");
  EXPECT_EQ(there.state, transfer::TaskState::succeeded) << there.problem;
  EXPECT_TRUE(transfer::testing::read_plain(xrootd().data(kMine) / "stored/large") == content);
  const auto back = move("storage", "beamline", "stored", "back");
  EXPECT_EQ(back.state, transfer::TaskState::succeeded) << back.problem;
  EXPECT_TRUE(transfer::testing::read_plain(agent / (std::string(kMine) + "/back/large")) == content);
  EXPECT_EQ(transfer::testing::read_plain(agent / (std::string(kMine) + "/back/sub/small")), "small");
}

TEST_F(XRootD, TokensCountAtEachRequest) {
  using core::ErrorCode;
  using services::transfer::testing::caught;
  const std::string read = fmt::format("read:/experiments/{}", kMine);
  const auto mine = place(xrootd().data(kMine), read);
  EXPECT_EQ(mine->stat("scan.dat")->version.size_bytes, 100'015);
  EXPECT_EQ(caught([&] { mine->make_folder("new"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { mine->remove("scan.dat"); }).code, ErrorCode::forbidden);
  const auto other = place(xrootd().data(kOther), read);
  const auto refused = caught([&] { other->open("scan.dat"); });
  EXPECT_EQ(refused.code, ErrorCode::forbidden);
  EXPECT_EQ(refused.text.find("eyJ"), std::string::npos) << refused.text;  // no token in a message
  const auto nobody =
      services::transfer::xrootd_provider({xrootd().roots(), fmt::format("/experiments/{}", kMine), {}});
  EXPECT_EQ(caught([&] { nobody->open("scan.dat"); }).code, ErrorCode::forbidden);
  EXPECT_EQ(caught([&] { mine->open("a?authz=x"); }).code, ErrorCode::unsupported);
  for (const auto* origin : {"http://127.0.0.1:1", "roots://", "roots://127.0.0.1:1/path", "file:///etc"})
    EXPECT_EQ(caught([&] { services::transfer::xrootd_provider({origin, "/experiments", {}}); }).code,
              ErrorCode::invalid_argument)
        << origin;
  const auto away = services::transfer::xrootd_provider({"root://127.0.0.1:1", "/experiments", {}});
  EXPECT_EQ(caught([&] { away->stat("x"); }).code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace farfield::tests

namespace farfield::services::transfer::conformance {
namespace {

INSTANTIATE_TEST_SUITE_P(XRootD, ProviderConformance,
                         ::testing::Values(Case{
                             .name = "roots",
                             .make =
                                 [](const fs::path& root, Servers&) {
                                   return tests::place(
                                       root, fmt::format("read:/experiments/{0} write:/experiments/{0}", tests::kMine));
                                 },
                             .sets_times = false,
                             .knows_links = false,
                             .inside = [] { return tests::xrootd().data(tests::kMine); },
                             .why_not = [] { return tests::xrootd().why_not(); },
                             .hand_over =
                                 [](const fs::path& path) {
                                   if (::geteuid() != 0) return;
                                   ASSERT_EQ(std::system(fmt::format("chown nobody:nogroup {}", path.string()).c_str()),
                                             0);
                                 }}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace farfield::services::transfer::conformance

// A real XRootD server with the SciTokens plug-in takes this issuer's tokens: for the experiment and the action that
// they name, and nothing else. And it is a place of transfers.

#include "tests/integration/xrootd/xrootd_server.hpp"

#include "farfield/codec/checksum.hpp"
#include "farfield/services/transfer/provider_conformance.hpp"
#include "farfield/services/transfer/testing_federation.hpp"
#include "farfield/services/transfer/xrootd/http_copy.hpp"
#include "farfield/services/transfer/xrootd/xrootd.hpp"

namespace farfield::tests {
namespace {
namespace transfer = services::transfer;

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

/// Two servers and a service that none of the bytes passes.
class TwoXRootDs : public XRootD {
protected:
  void SetUp() override {
    XRootD::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (const auto& why = other().why_not(); !why.empty()) FARFIELD_SKIP(why);
    database = store::Database::open("sqlite:" + (folder / "service.db").string());
    issuer = std::make_unique<auth::testing::IssuerFixture>(
        *database, xrootd().keys_folder(), [this](const std::string& url) { return places->is_audience(url); });
    issuer->now_s = auth::system_unix_time();
    places = std::make_unique<transfer::Places>(*database, issuer->clock());
    put("from", xrootd(), xrootd().https());
    put("to", other(), other().https());
    tasks = std::make_unique<transfer::Tasks>(*database, transfer::place_resolver(*places, issuer->issuer), clock);
  }
  static XRootDServer& other() {
    static XRootDServer server(&xrootd());
    return server;
  }
  void put(const std::string& name, const XRootDServer& server, const std::string& https) const {
    places->put({name, server.roots(), https.empty() ? "" : server.certificate(), "user:admin", 0, 0,
                 transfer::PlaceKind::xrootd, "/experiments", kAudience, https});
  }
  transfer::TaskStatus move(const std::string& path, const std::string& there, double bandwidth_Bps = 0) const {
    transfer::TaskRequest request;
    request.source = fmt::format("from/{}", kMine);
    request.destination = fmt::format("to/{}", kMine);
    request.items = {{path, there, true}};
    request.options.bandwidth_Bps = bandwidth_Bps;
    request.owner = "user:garcia";
    request.grant = issuer->issuer.delegate(request.owner, "cli", transfer::needed_scope(request), 600);
    return tasks->wait(tasks->submit(request), 120);
  }
  static void write(const std::string& path, const std::string& content) {
    const fs::path file = xrootd().data(kMine) / path;
    transfer::testing::write_plain(file, content);
    // The server reads with its own account.
    for (fs::path at = file; at != xrootd().data(kMine); at = at.parent_path())
      fs::permissions(at,
                      fs::perms::group_read | fs::perms::others_read | fs::perms::others_exec | fs::perms::group_exec,
                      fs::perm_options::add);
  }
  core::testing::TemporaryFolder folder;
  core::SteadyClock clock;
  std::unique_ptr<store::Database> database;
  std::unique_ptr<transfer::Places> places;
  std::unique_ptr<auth::testing::IssuerFixture> issuer;
  std::unique_ptr<transfer::Tasks> tasks;
};

TEST_F(TwoXRootDs, CopyFromEachOtherByThemselves) {
  const std::string large = transfer::testing::random_text(20 << 20, 5);
  write("third/large", large);
  write("third/a folder/\xC3\xA4 small", "small");
  const auto task = move("third", "arrived");
  ASSERT_EQ(task.state, transfer::TaskState::succeeded) << task.problem;
  EXPECT_TRUE(transfer::testing::read_plain(other().data(kMine) / "arrived/large") == large);
  EXPECT_EQ(transfer::testing::read_plain(other().data(kMine) / "arrived/a folder/\xC3\xA4 small"), "small");
  const auto units = tasks->units(task.id, false, "", 10);
  ASSERT_EQ(units.size(), 2U);
  for (const auto& unit : units) {
    const std::string& content = unit.destination.ends_with("large") ? large : "small";
    // Only the servers have computed it: the bytes did not come by here.
    EXPECT_EQ(unit.adler32, codec::adler32(std::as_bytes(std::span(content)))) << unit.destination;
    EXPECT_EQ(unit.crc32c, 0U);
  }
  EXPECT_EQ(task.progress.bytes_read, std::ssize(large) + 5);
}

TEST_F(TwoXRootDs, WhereTheyCannotTheBytesComeByTheService) {
  const std::string content = transfer::testing::random_text(3 << 20, 6);
  write("plain/f", content);
  const auto by_service = [&](const std::string& there, double bandwidth_Bps = 0) {
    const auto task = move("plain", there, bandwidth_Bps);
    EXPECT_EQ(task.state, transfer::TaskState::succeeded) << task.problem;
    EXPECT_TRUE(transfer::testing::read_plain(other().data(kMine) / (there + "/f")) == content);
    const auto units = tasks->units(task.id, false, "", 10);
    return units.size() == 1 && !units[0].adler32 &&
           units[0].crc32c == codec::crc32c(std::as_bytes(std::span(content)));
  };
  EXPECT_TRUE(by_service("slowly", 1e9));  // nobody can slow the servers down
  put("from", xrootd(), "");
  EXPECT_TRUE(by_service("without"));
  put("from", xrootd(), "https://127.0.0.1:1");  // the other server finds nobody there
  EXPECT_TRUE(by_service("nobody"));
}

TEST_F(TwoXRootDs, RightsCountAtBothOfThem) {
  write("mine/f", "content");
  transfer::TaskRequest request;
  request.source = fmt::format("from/{}", kMine);
  request.destination = fmt::format("to/{}", kOther);
  request.items = {{"mine", "stolen", true}};
  request.owner = "user:garcia";
  request.grant = issuer->issuer.delegate(request.owner, "cli", fmt::format("read:/experiments/{}", kMine), 600);
  EXPECT_EQ(tasks->wait(tasks->submit(request), 60).state, transfer::TaskState::failed);
  EXPECT_FALSE(fs::exists(other().data(kOther) / "stolen"));
  // A token for reading elsewhere, shown to the source by the other server.
  const auto reads_other = fmt::format("read:/experiments/{}", kOther);
  const auto writes = fmt::format("read:/experiments/{0} write:/experiments/{0}", kMine);
  net::Client client(other().https(), {.trust = other().trust()});
  const auto target = fmt::format("/experiments/{}/stolen", kMine);
  const transfer::HttpAddress source{fmt::format("{}/experiments/{}/scan.dat", xrootd().https(), kMine),
                                     token(reads_other)};
  EXPECT_TRUE(transfer::copy_by_http(client, target, token(writes), source, {}, {}));
  const auto nowhere = transfer::copy_by_http(client, target, token(reads_other),
                                              {source.url, token(fmt::format("read:/experiments/{}", kMine))}, {}, {});
  EXPECT_TRUE(nowhere);
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

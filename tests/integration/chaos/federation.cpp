#include "tests/integration/chaos/federation.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "farfield/net/url.hpp"

namespace farfield::chaos {
namespace {
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;
using testing_network::Relay;

constexpr const char* kIssuer = "https://farfield.test";

std::string contents(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

/// Nobody listens at it just now. Numbers below those that the kernel gives to connections.
std::uint16_t free_port() {
  static std::uint16_t next = static_cast<std::uint16_t>(12000 + ::getpid() % 10000);
  for (int i = 0; i < 1000; ++i) {
    const std::uint16_t port = next++;
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = ::bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
    ::close(fd);
    if (free) return port;
  }
  throw std::runtime_error("no free port");
}

std::string url_of(std::uint16_t port) { return fmt::format("https://127.0.0.1:{}", port); }

}  // namespace

Facility::Facility(fs::path folder, const FacilityOptions& options)
    : folder_(std::move(folder)),
      options_(options),
      admin_{"admin", "", folder_ / "config-admin"},
      user_{"garcia", "correct horse battery staple", folder_ / "config-garcia"},
      service_port_(free_port()) {
  for (const auto* part : {"home", "logs", "secrets"}) fs::create_directories(folder_ / part);
  for (const auto* side : {"beamline", "cluster"}) fs::create_directories(root(side));
  supervisor_ = std::make_unique<Supervisor>(folder_ / "logs");
  // Slow enough that accidents meet files under way.
  const testing_network::Weather slow{.delay_s = 0.005, .bytes_per_s = 2e6};
  std::string names = "localhost,127.0.0.1";
  std::uint64_t draw = options.seed;
  for (const auto* name : {"beamline", "cluster"}) {
    Side& side = sides_[name];
    side.agent_port = free_port();
    std::string here = "127.0.0.1";
    if (options.sites != nullptr) {
      here = options.sites->here(name);
      side.address = options.sites->there(name);
      names += "," + here;
    }
    side.to_service = std::make_unique<Relay>(testing_network::Address{.port = service_port_}, slow, draw++,
                                              testing_network::Address{.host = here});
    side.to_agent =
        std::make_unique<Relay>(testing_network::Address{.host = side.address, .port = side.agent_port}, slow, draw++);
    side.service = fmt::format("https://{}:{}", here, side.to_service->port());
  }
  std::vector<std::string> command{options_.program,   "serve",
                                   "--folder",         folder_ / "service",
                                   "--port",           std::to_string(service_port_),
                                   "--names",          names,
                                   "--issuer",         kIssuer,
                                   "--requests-per-s", "0"};
  if (!options_.database.empty()) command.insert(command.end(), {"--database", options_.database});
  supervisor_->start({"service", command, environment(admin_)});
  const auto up = [&] {
    if (!fs::exists(folder_ / "service/certificate.pem") || !fs::exists(folder_ / "service/admin-password"))
      return false;
    try {
      net::Client client(url_of(service_port_), {.trust = {folder_ / "service/certificate.pem"}});
      return client.send({.target = "/api/v1/health"}).ok();
    } catch (const core::Error&) {
      return false;
    }
  };
  if (!becomes(up, 60s))
    throw std::runtime_error("the service does not answer: " + contents(folder_ / "logs/service.log"));
  admin_.password = contents(folder_ / "service/admin-password");
  while (!admin_.password.empty() && admin_.password.back() == '\n') admin_.password.pop_back();
  log_in(admin_);
  call("POST", "/api/v1/users", {{"id", user_.name}, {"name", "Garcia"}, {"password", user_.password}}, true);
  call("POST", "/api/v1/experiments", {{"id", kExperiment}, {"owner", "user:" + user_.name}}, true);
  log_in(user_);
}

Facility::~Facility() = default;

std::vector<Relay*> Facility::networks() {
  std::vector<Relay*> out;
  for (auto& [name, side] : sides_) {
    out.push_back(side.to_service.get());
    out.push_back(side.to_agent.get());
  }
  return out;
}

std::map<std::string, std::string> Facility::environment(const Person& person) const {
  return {{"HOME", folder_ / "home"}, {"XDG_CONFIG_HOME", person.config}, {"XDG_CACHE_HOME", folder_ / "cache"}};
}

bool Facility::becomes(const std::function<bool()>& what, std::chrono::seconds limit) {
  const auto last = std::chrono::steady_clock::now() + limit;
  while (!what()) {
    if (std::chrono::steady_clock::now() > last) return false;
    supervisor_->tend_for(50ms);
  }
  return true;
}

Facility::Answer Facility::farfield(const std::vector<std::string>& arguments, std::chrono::seconds limit) {
  return run(arguments, user_, limit);
}

Facility::Answer Facility::run(const std::vector<std::string>& arguments, const Person& person,
                               std::chrono::seconds limit, const std::function<void(const Answer&)>& watch) {
  std::vector<std::string> words{options_.program}, variables;
  words.insert(words.end(), arguments.begin(), arguments.end());
  for (char** v = environ; *v != nullptr; ++v)
    if (std::string_view(*v).substr(0, 9) != "FARFIELD_") variables.emplace_back(*v);
  for (const auto& [name, value] : environment(person)) variables.push_back(fmt::format("{}={}", name, value));
  const auto pointers = [](std::vector<std::string>& of) {
    std::vector<char*> out;
    for (auto& one : of) out.push_back(one.data());
    out.push_back(nullptr);
    return out;
  };
  std::array<std::array<int, 2>, 2> pipes{};
  for (auto& one : pipes)
    if (::pipe2(one.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, pipes[0][1], 1);
  posix_spawn_file_actions_adddup2(&actions, pipes[1][1], 2);
  auto argv = pointers(words), env = pointers(variables);
  pid_t pid = -1;
  const int failed = ::posix_spawn(&pid, words[0].c_str(), &actions, nullptr, argv.data(), env.data());
  posix_spawn_file_actions_destroy(&actions);
  for (auto& one : pipes) ::close(one[1]);
  if (failed != 0) throw std::runtime_error("cannot start " + words[0]);
  Answer answer;
  std::array<pollfd, 2> open{{{pipes[0][0], POLLIN, 0}, {pipes[1][0], POLLIN, 0}}};
  const auto last = std::chrono::steady_clock::now() + limit;
  bool killed = false;
  while (open[0].fd >= 0 || open[1].fd >= 0) {
    if (!killed && std::chrono::steady_clock::now() > last) {
      ::kill(pid, SIGKILL);
      killed = true;
    }
    ::poll(open.data(), open.size(), 100);
    for (std::size_t i = 0; i < 2; ++i) {
      if (open[i].fd < 0 || open[i].revents == 0) continue;
      std::array<char, 4096> buffer{};
      const auto n = ::read(open[i].fd, buffer.data(), buffer.size());
      if (n <= 0) open[i].fd = -1;
      else (i == 0 ? answer.out : answer.err).append(buffer.data(), static_cast<std::size_t>(n));
      if (watch) watch(answer);
    }
  }
  for (auto& one : pipes) ::close(one[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status)) answer.exit_code = WEXITSTATUS(status);
  if (killed) answer.err += "\n(killed: no end in time)";
  return answer;
}

void Facility::log_in(const Person& person) {
  bool approved = false;
  const auto answer =
      run({"login", sides_.at("beamline").service, "--authority", folder_ / "service/certificate.pem"}, person, 60s,
          [&](const Answer& so_far) {
            const auto at = so_far.err.find("code ");
            if (approved || at == std::string::npos || so_far.err.find('\n', at) == std::string::npos) return;
            approved = true;
            const std::string code = so_far.err.substr(at + 5, so_far.err.find('\n', at) - at - 5);
            net::Client browser(url_of(service_port_), {.trust = {folder_ / "service/certificate.pem"}});
            browser.send(
                {.method = "POST",
                 .target = "/device",
                 .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                 .body = net::format_query(
                     {{"code", code}, {"user", person.name}, {"password", person.password}, {"decision", "approve"}})});
          });
  if (answer.exit_code != 0) throw std::runtime_error("login of " + person.name + ": " + answer.err);
}

/// As the program keeps it; `whoami` has it renewed when it ends soon.
std::string Facility::token(const Person& person) {
  const auto kept = json::parse(contents(person.config / "farfield/credentials.json"), nullptr, false);
  if (!kept.is_object()) throw std::runtime_error(person.name + " is not logged in");
  const auto& service = kept.at("services").at(kept.at("last").get<std::string>());
  return service.at("access_token");
}

json Facility::call(const std::string& method, const std::string& target, const json& body, bool as_administrator) {
  const Person& person = as_administrator ? admin_ : user_;
  std::string problem;
  for (int i = 0; i < 100; ++i) {
    supervisor_->tend();
    try {
      net::Client client(url_of(service_port_), {.trust = {folder_ / "service/certificate.pem"}});
      net::ClientRequest request{.method = method, .target = target};
      request.headers = {{"Authorization", "Bearer " + token(person)}};
      if (!body.is_null()) {
        request.headers.set("Content-Type", "application/json");
        request.body = body.dump();
      }
      const auto response = client.send(request);
      if (response.ok()) return response.body.empty() ? json() : json::parse(response.body);
      problem = fmt::format("{} {}: {} {}", method, target, response.status, response.body);
      if (response.status == 401) run({"whoami"}, person, 60s);  // has the token renewed
      else if (response.status < 500) break;
    } catch (const core::Error& e) {
      problem = fmt::format("{} {}: {}", method, target, e.what());
    }
    supervisor_->tend_for(200ms);
  }
  throw std::runtime_error(problem);
}

fs::path Facility::identity(const std::string& name, const std::vector<std::string>& scopes) {
  const auto made = call("POST", "/api/v1/services", {{"id", name}, {"scopes", scopes}}, true);
  const fs::path file = folder_ / "secrets" / name;
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const std::string secret = made.at("client_secret").get<std::string>() + "\n";
  if (fd < 0 || ::write(fd, secret.data(), secret.size()) != static_cast<ssize_t>(secret.size()))
    throw std::runtime_error("cannot write " + file.string());
  ::close(fd);
  return file;
}

/// What agents and endpoints are told of the service.
std::vector<std::string> Facility::service_options(const std::string& side, const std::string& identity) const {
  return {"--service",     sides_.at(side).service,
          "--authority",   folder_ / "service/certificate.pem",
          "--identity",    identity,
          "--secret-file", folder_ / "secrets" / identity};
}

std::vector<std::string> Facility::joined(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

void Facility::start(const std::string& name, const std::string& side, std::vector<std::string> arguments,
                     const Person& person, const std::map<std::string, std::string>& more) {
  arguments.insert(arguments.begin(), options_.program);
  if (options_.sites != nullptr)
    arguments.insert(arguments.begin(), {"/sbin/ip", "netns", "exec", options_.sites->name(side)});
  auto variables = environment(person);
  variables.insert(more.begin(), more.end());
  supervisor_->start({name, std::move(arguments), std::move(variables)});
}

void Facility::start_agents() {
  for (auto& [name, side] : sides_) {
    identity(name, {"transfer.agent"});
    const auto arguments = joined(
        {"agent", "start", "--root", folder_ / name, "--folder", folder_ / ("agent-" + name), "--issuer", kIssuer,
         "--address", side.address, "--port", std::to_string(side.agent_port), "--url", url_of(side.to_agent->port())},
        service_options(name, name));
    start("agent-" + name, name, arguments, admin_);
  }
  const auto known = [&] { return call("GET", "/api/v1/places").at("places").size() == 2; };
  if (!becomes(known, 60s)) throw std::runtime_error("the agents do not register");
}

void Facility::start_endpoint(const std::vector<std::string>& options, const std::map<std::string, std::string>& more) {
  identity("endpoint", {"compute.endpoint"});
  start("endpoint", "cluster",
        joined(joined({"endpoint", "start", "--name", "cluster", "--root", folder_ / "cluster", "--folder",
                       folder_ / "endpoint"},
                      service_options("cluster", "endpoint")),
               options),
        admin_, more);
  const auto known = [&] { return !call("GET", "/api/v1/endpoints").at("endpoints").empty(); };
  if (!becomes(known, 60s)) throw std::runtime_error("the endpoint does not register");
}

void Facility::start_watch(const fs::path& flow, const json& input) {
  start("watch", "beamline",
        {"watch", root("beamline"), "--flow", flow, "--input", input.dump(), "--marker", "complete", "--quiet", "0",
         "--rescan", "2", "--state", folder_ / "watch.db", "--service", sides_.at("beamline").service},
        user_);
}

}  // namespace farfield::chaos

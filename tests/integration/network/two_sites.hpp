#pragma once
// Two sites on one machine: network namespaces with a link of limited rate between them. Needs root and iproute2.

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

namespace farfield::tests {

class TwoSites {
public:
  static constexpr const char* kHere = "10.213.77.1";   ///< address of the first site
  static constexpr const char* kThere = "10.213.77.2";  ///< and of the second

  /// `rate` as tc writes it: "200mbit".
  explicit TwoSites(const std::string& rate) {
    if (::geteuid() != 0) {
      why_not_ = "only root can make network namespaces";
      return;
    }
    if (!run("ip -V")) {
      why_not_ = "iproute2 is not installed";
      return;
    }
    made_ = true;
    const bool linked =
        run("ip netns add " + here_) && run("ip netns add " + there_) &&
        run(fmt::format("ip link add {0} netns {1} type veth peer name {0} netns {2}", kLink, here_, there_)) &&
        bring_up(here_, kHere) && bring_up(there_, kThere);
    if (!linked) {
      why_not_ = "network namespaces with a link between them cannot be made here";
      return;
    }
    for (const auto& site : {here_, there_})
      if (!run(fmt::format("tc -n {} qdisc add dev {} root tbf rate {} burst 64kb latency 100ms", site, kLink, rate)))
        why_not_ = "the rate of a link cannot be limited here (tbf)";
  }
  ~TwoSites() {
    if (!made_) return;
    for (const auto& site : {here_, there_}) run("ip netns delete " + site);
  }
  TwoSites(const TwoSites&) = delete;
  TwoSites& operator=(const TwoSites&) = delete;

  /// Empty where the sites are there.
  const std::string& why_not() const { return why_not_; }

  /// Runs `what` on a thread that lives at one site, and with it all sockets and threads that it makes.
  void here(const std::function<void()>& what) const { at(here_, what); }
  void there(const std::function<void()>& what) const { at(there_, what); }

private:
  static constexpr const char* kLink = "ff0";

  static bool run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }
  static bool bring_up(const std::string& site, const std::string& address) {
    return run(fmt::format("ip -n {} addr add {}/24 dev {}", site, address, kLink)) &&
           run(fmt::format("ip -n {} link set {} up", site, kLink)) &&
           run(fmt::format("ip -n {} link set lo up", site));
  }
  static void at(const std::string& site, const std::function<void()>& what) {
    std::thread([&] {
      const int descriptor = ::open(("/run/netns/" + site).c_str(), O_RDONLY | O_CLOEXEC);
      const bool entered = descriptor >= 0 && ::setns(descriptor, CLONE_NEWNET) == 0;
      if (descriptor >= 0) ::close(descriptor);
      ASSERT_TRUE(entered) << site;
      what();
    }).join();
  }

  const std::string here_ = fmt::format("farfield-a-{}", ::getpid()), there_ = fmt::format("farfield-b-{}", ::getpid());
  std::string why_not_;
  bool made_ = false;
};

}  // namespace farfield::tests

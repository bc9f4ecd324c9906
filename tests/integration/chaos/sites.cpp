#include "tests/integration/chaos/sites.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

namespace farfield::chaos {
namespace {
bool shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }
int number(const std::string& side) { return side == "beamline" ? 1 : 2; }
std::string address(const std::string& side, int end) {
  return fmt::format("10.{}.{}.{}", 100 + ::getpid() % 100, 2 * (::getpid() / 100 % 100) + number(side), end);
}
}  // namespace

Sites::Sites() {
  if (::geteuid() != 0) {
    why_not_ = "network namespaces need root";
    return;
  }
  if (!shell("ip -V") || !shell("tc -V")) {
    why_not_ = "iproute2 is not installed";
    return;
  }
  for (const std::string side : {"beamline", "cluster"}) {
    const std::string ns = name(side), cable = fmt::format("ff{}-{}", ::getpid(), number(side));
    // The rate of a good line; delays and cuts are the relays' matter.
    const bool made =
        shell(fmt::format("ip netns add {}", ns)) &&
        shell(fmt::format("ip link add {0} type veth peer name eth0 netns {1}", cable, ns)) &&
        shell(fmt::format("ip addr add {}/30 dev {}", here(side), cable)) &&
        shell(fmt::format("ip link set {} up", cable)) &&
        shell(fmt::format("ip -n {} addr add {}/30 dev eth0", ns, there(side))) &&
        shell(fmt::format("ip -n {} link set eth0 up", ns)) && shell(fmt::format("ip -n {} link set lo up", ns)) &&
        shell(fmt::format("tc qdisc add dev {} root tbf rate 100mbit burst 64kb latency 200ms", cable)) &&
        shell(fmt::format("tc -n {} qdisc add dev eth0 root tbf rate 100mbit burst 64kb latency 200ms", ns));
    if (!made) {
      why_not_ = "network namespaces cannot be made here";
      return;
    }
  }
}

Sites::~Sites() {
  for (const auto* side : {"beamline", "cluster"}) shell(fmt::format("ip netns del {}", name(side)));
}

std::string Sites::name(const std::string& side) const { return fmt::format("farfield-{}-{}", side, ::getpid()); }
std::string Sites::here(const std::string& side) const { return address(side, 1); }
std::string Sites::there(const std::string& side) const { return address(side, 2); }

}  // namespace farfield::chaos

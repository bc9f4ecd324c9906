// The relay as a program, for shells and network namespaces. Orders come as lines of standard input; it ends with it.

#include <charconv>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/integration/relay/relay.hpp"

namespace farfield::testing_network {
namespace {

constexpr const char* kUsage =
    "farfield_relay LISTEN TARGET [SEED]    addresses as 127.0.0.1:8443; port 0 takes a free one, which is printed\n"
    "orders, one a line: delay S | rate BYTES_PER_S | life-bytes MEAN | life MEAN_S | stall | go | cut | refuse |\n"
    "accept | traffic\n";

Address parsed(const std::string& text) {
  const auto colon = text.rfind(':');
  Address out;
  if (colon == std::string::npos) throw std::invalid_argument("'" + text + "' is not HOST:PORT");
  out.host = text.substr(0, colon);
  const auto *first = text.data() + colon + 1, *last = text.data() + text.size();
  const auto [end, error] = std::from_chars(first, last, out.port);
  if (error != std::errc() || end != last) throw std::invalid_argument("'" + text + "' is not HOST:PORT");
  return out;
}

void obey(Relay& relay, Weather& weather, const std::string& line) {
  std::istringstream words(line);
  std::string order;
  words >> order;
  double* number = order == "delay"        ? &weather.delay_s
                   : order == "rate"       ? &weather.bytes_per_s
                   : order == "life-bytes" ? &weather.mean_life_bytes
                   : order == "life"       ? &weather.mean_life_s
                                           : nullptr;
  if (number != nullptr) {
    double value = 0;
    if (!(words >> value) || !(value >= 0)) throw std::invalid_argument("'" + line + "': a number from 0 is expected");
    *number = value;
    relay.set(weather);
  } else if (order == "stall" || order == "go") {
    relay.stall(order == "stall");
  } else if (order == "cut") {
    relay.cut();
  } else if (order == "refuse" || order == "accept") {
    relay.refuse(order == "refuse");
  } else if (order == "traffic") {
    const auto t = relay.traffic();
    std::cout << "connections " << t.connections << " open " << t.open << " cuts " << t.cuts << " up " << t.up
              << " down " << t.down << std::endl;
  } else if (!order.empty()) {
    throw std::invalid_argument("'" + line + "' is no order");
  }
}

}  // namespace
}  // namespace farfield::testing_network

int main(int argc, char** argv) try {
  using namespace farfield::testing_network;
  if (argc < 3 || argc > 4) {
    std::cerr << kUsage;
    return 2;
  }
  Weather weather;
  Relay relay(parsed(argv[2]), weather, argc == 4 ? std::stoull(argv[3]) : 1, parsed(argv[1]));
  std::cout << relay.port() << std::endl;
  for (std::string line; std::getline(std::cin, line);) try {
      obey(relay, weather, line);
    } catch (const std::invalid_argument& error) {
      std::cerr << error.what() << '\n';
    }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}

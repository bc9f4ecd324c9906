#include "farfield/services/compute/endpoint/service_link.hpp"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "farfield/core/log.hpp"
#include "farfield/net/url.hpp"
#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {
namespace {
using std::chrono::milliseconds;
constexpr milliseconds kFirstPause{100}, kLongestPause{5000}, kLetGo{5000};
constexpr core::Index kLongestMessage = core::Index{64} << 20;
}  // namespace

struct ServiceLink::State : std::enable_shared_from_this<ServiceLink::State> {
  State(ServiceLinkOptions o, Events e) : options(std::move(o)), events(std::move(e)) {
    const auto url = core::value_or_throw(net::parse_url(options.service));
    target = fmt::format("{}://{}/api/v1/endpoints/{}/link", url.secure ? "wss" : "ws", url.authority(),
                         net::percent_encode(options.endpoint));
  }

  void run() {
    auto pause = kFirstPause;
    std::minstd_rand random(std::random_device{}());
    const auto rest = [&] {
      // Endpoints that lost the same service do not all come back at once.
      std::uniform_real_distribution<double> spread(0.5, 1);
      std::unique_lock lock(mutex);
      wake.wait_for(lock,
                    std::chrono::duration<double, std::milli>(static_cast<double>(pause.count()) * spread(random)),
                    [&] { return stop; });
      pause = std::min(2 * pause, kLongestPause);
    };
    while (!stopping()) {
      const int line = ++lines;
      std::shared_ptr<net::WebSocket> socket;
      try {
        socket = connect(line);
      } catch (const core::Error& e) {
        core::log(core::LogLevel::warning, "service_not_reached", {{"service", options.service}, {"reason", e.what()}});
        rest();
        continue;
      }
      const auto since = std::chrono::steady_clock::now();
      core::log(core::LogLevel::info, "service_reached", {{"service", options.service}});
      events.opened(line, socket);
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stop || gone >= line; });
      }
      socket->close(1001, "the endpoint goes");
      events.closed(line);
      // Ending a line may take its time: not on the thread of somebody who was about to use it.
      for (auto waited = milliseconds(0); socket.use_count() > 1 && waited < kLetGo && !stopping();
           waited += milliseconds(5))
        std::this_thread::sleep_for(milliseconds(5));
      // A service that takes lines and closes them at once is not asked without a pause.
      if (std::chrono::steady_clock::now() - since > kLongestPause) pause = kFirstPause;
      rest();
    }
  }

  std::shared_ptr<net::WebSocket> connect(int line) {
    net::WebSocketOptions how;
    how.trust = options.trust;
    how.limits.message_bytes = kLongestMessage;
    if (options.token) how.headers.add("Authorization", "Bearer " + options.token());
    net::WebSocket::Events heard;
    heard.quick_bytes = kQuickBytes;
    // Who was given the line may hold it longer than the link is there: what its threads use stays as long.
    heard.message = [self = shared_from_this(), line](std::string message, bool) {
      if (!self->stopping()) self->events.message(line, std::move(message));
    };
    heard.closed = [self = shared_from_this(), line](const std::string& reason) {
      core::log(core::LogLevel::warning, "service_line_closed", {{"reason", reason}});
      const std::lock_guard lock(self->mutex);
      self->gone = std::max(self->gone, line);
      self->wake.notify_all();
    };
    return net::connect_websocket(target, heard, how);
  }

  bool stopping() {
    const std::lock_guard lock(mutex);
    return stop;
  }

  ServiceLinkOptions options;
  Events events;
  std::string target;
  int lines = 0;
  std::mutex mutex;
  std::condition_variable wake;
  int gone = 0;  ///< the last line that closed
  bool stop = false;
  std::thread thread;
};

ServiceLink::ServiceLink(ServiceLinkOptions options, Events events)
    : state_(std::make_shared<State>(std::move(options), std::move(events))) {
  state_->thread = std::thread([s = state_.get()] { s->run(); });
}

ServiceLink::~ServiceLink() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
    state_->wake.notify_all();
  }
  state_->thread.join();
}

}  // namespace farfield::services::compute

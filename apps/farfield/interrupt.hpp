#pragma once

#include <stop_token>
#include <thread>

namespace farfield::apps {

/// Turns SIGINT and SIGTERM into a request to stop; the second one ends the process at once with exit code 130.
/// Made first in main(), before any other thread, whose signal masks it sets.
class Interrupt {
public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return source_.get_token(); }
  bool requested() const { return source_.stop_requested(); }

private:
  std::stop_source source_;
  int signals_ = -1, end_ = -1;  // descriptors: signalfd, eventfd
  std::thread thread_;
};

}  // namespace farfield::apps

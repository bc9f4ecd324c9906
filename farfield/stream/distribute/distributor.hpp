#pragma once
// One owner of a detector's socket for several analyses: a message of a PULL socket reaches one puller only. Every
// outlet is a PUSH socket of its own, on a thread of its own, so that the analysis behind it connects as it would to
// the detector, and that one that is slow, dead or late is nobody else's affair.

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "farfield/stream/feed.hpp"
#include "farfield/stream/spool/spool.hpp"

namespace farfield::stream {

/// What becomes of images that an outlet cannot pass on.
enum class OutletPolicy {
  drop,   ///< they are dropped where its queue is full, or nobody is connected
  block,  ///< the source waits, and with it all other outlets
  spool,  ///< they wait on disk; dropped where that is full
};

struct OutletOptions {
  std::string endpoint{};  ///< as parse_endpoint()
  OutletPolicy policy = OutletPolicy::drop;
  Index queue_bytes = Index{256} << 20;  ///< in memory
  std::filesystem::path spool{};         ///< folder; for OutletPolicy::spool
  SpoolOptions spool_options{};
};

struct OutletCounts {
  std::string endpoint{};
  Index images = 0, bytes = 0;  ///< sent
  Index dropped = 0;            ///< images
  Index waiting = 0;            ///< messages
  int connected = 0;            ///< analyses now
};

struct DistributorCounts {
  Index messages = 0, images = 0, bytes = 0;  ///< received
  Index unreadable = 0;  ///< of them those that no analysis will understand; passed on all the same
  std::vector<OutletCounts> outlets{};
};

class Distributor {
public:
  /// `source` outlives this. Throws as net::ZmqSocket and Spool.
  Distributor(Feed& source, std::vector<OutletOptions> outlets);
  /// What still waits is dropped.
  ~Distributor();

  /// Passes messages on until `stop`, or until the source has ended and the outlets are empty. Whoever connects while a
  /// series runs gets its header first. Throws what the source throws.
  void run(std::stop_token stop);
  /// Any thread may ask.
  DistributorCounts counts() const;

private:
  class Outlet;
  Feed& source_;
  mutable std::mutex mutex_;
  DistributorCounts counts_;
  std::vector<std::unique_ptr<Outlet>> outlets_;
};

}  // namespace farfield::stream

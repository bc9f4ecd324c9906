#pragma once
// SHA-256 on a thread of its own, fed with buffers in order. The hash is what takes longest of all that is done with a
// file; its thread does nothing else.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "farfield/codec/checksum.hpp"

namespace farfield::services::transfer {

class BackgroundSha256 {
public:
  /// Some buffers of this size are made. Without a thread (a small file is not worth one) submit() does the work.
  BackgroundSha256(std::size_t buffer_bytes, bool thread);
  ~BackgroundSha256();
  BackgroundSha256(const BackgroundSha256&) = delete;
  BackgroundSha256& operator=(const BackgroundSha256&) = delete;

  /// A buffer to fill; waits for one. Belongs to the caller until submit(), which follows each call.
  std::span<std::byte> acquire();
  /// The first `bytes` of the acquired buffer are hashed.
  void submit(std::size_t bytes);
  /// Forgets everything hashed so far.
  void restart();
  /// Of all that was submitted.
  std::string hex();

private:
  struct Filled {
    std::size_t buffer, bytes;
  };
  void work();
  void wait_until_idle(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<std::byte>> buffers_;
  std::vector<std::size_t> free_;
  std::deque<Filled> filled_;
  std::size_t acquired_ = 0;
  bool busy_ = false, ending_ = false;
  codec::Sha256 sum_;
  std::thread thread_;
};

}  // namespace farfield::services::transfer

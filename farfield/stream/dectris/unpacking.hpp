#pragma once
// Private to this folder: images are unpacked on threads of their own while the next ones are received. There is no
// barrier: a thread that is done takes the next images at once.

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "farfield/core/array.hpp"
#include "farfield/stream/dectris/pixels.hpp"

namespace farfield::stream::dectris {

/// Memory of images, used again and again: fresh pages cost more than unpacking into them. The one used last is the
/// next: it is the one that caches still hold. Thread-safe.
class Buffers : public std::enable_shared_from_this<Buffers> {
public:
  /// Keeps up to `spare` of them for later.
  explicit Buffers(std::size_t spare) : most_(spare) {}
  std::shared_ptr<std::byte> get(Index bytes);

private:
  void give_back(core::Array<std::byte, 1> memory);
  std::size_t most_;
  std::mutex mutex_;
  std::vector<core::Array<std::byte, 1>> spare_;
};

/// An image on its way: nothing where it lacks the pixels that are wanted.
struct Unpacking {
  const PackedPixels* pixels = nullptr;
  std::byte* out = nullptr;
  std::string wrong{};  ///< why it could not be unpacked
};

/// Images that are unpacked together, one after the other, on one thread.
struct UnpackingGroup {
  virtual ~UnpackingGroup() = default;
  std::vector<Unpacking> work;

private:
  friend class Unpacker;
  bool done_ = false;
};

class Unpacker {
public:
  /// One thread or less: the one that calls.
  explicit Unpacker(int threads);
  ~Unpacker();

  int threads() const { return std::max<int>(1, static_cast<int>(team_.size())); }
  /// The group is not touched by others until it is done.
  void begin(std::shared_ptr<UnpackingGroup> group);
  bool done(const UnpackingGroup& group);
  /// Always ends: unpacking does.
  void wait(const UnpackingGroup& group);

private:
  void work(std::stop_token stop);

  std::mutex mutex_;
  std::condition_variable_any came_;
  std::condition_variable done_;
  std::deque<std::shared_ptr<UnpackingGroup>> waiting_;
  std::vector<std::jthread> team_;
};

}  // namespace farfield::stream::dectris

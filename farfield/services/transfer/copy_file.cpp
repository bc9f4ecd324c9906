#include "farfield/services/transfer/copy_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "farfield/codec/checksum.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

namespace {

constexpr int kRepairs = 2;  // a chunk that is read back differently a third time is a defect, not an accident
constexpr auto kLook = std::chrono::milliseconds(100);

Error stopped() { return {ErrorCode::cancelled, "the transfer was stopped"}; }

/// The streams of one file.
class FileCopy {
public:
  FileCopy(Reader& reader, Receiver& receiver, const CopyOptions& options, const CopyContext& context)
      : reader_(reader), receiver_(receiver), options_(options), context_(context), held_(receiver.held().crc32c) {}

  /// The chunks of these numbers, of a file of this size. Those that the destination holds are read again from the
  /// source and compared, unless `trusted`.
  void run(const std::vector<Index>& numbers, Index size_bytes, bool trusted) {
    std::atomic<std::size_t> next{0};
    const auto stream = [&] {
      try {
        for (std::size_t i = 0; !failed_ && (i = next.fetch_add(1)) < numbers.size();)
          chunk(numbers[i], size_bytes, trusted);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        failed_ = true;
        if (!error_) error_ = std::current_exception();
      }
    };
    {
      std::vector<std::jthread> others;
      const auto streams = std::min<std::size_t>(static_cast<std::size_t>(options_.streams), numbers.size());
      for (std::size_t i = 1; i < streams; ++i) others.emplace_back(stream);
      stream();
    }
    if (error_) std::rethrow_exception(error_);
  }

  /// Whatever the destination said of these: they are to be put again.
  void forget(const std::vector<Index>& numbers) {
    for (const Index number : numbers) {
      held_.erase(number);
      put_.erase(number);
    }
  }

  Index bytes_moved() const { return bytes_moved_; }

private:
  void chunk(Index number, Index size_bytes, bool trusted) {
    const Index begin = number * options_.chunk_bytes, bytes = std::min(options_.chunk_bytes, size_bytes - begin);
    const auto held = held_.find(number);
    if (trusted && held != held_.end()) {
      receiver_.keep(number, bytes);
      return;
    }
    if (context_.stop.stop_requested() || (context_.limit != nullptr && !context_.limit->wait(bytes, context_.stop)))
      throw stopped();
    if (held == held_.end())
      if (const auto fetched = receiver_.fetch(reader_, number, bytes)) {
        if (context_.moved != nullptr) *context_.moved += bytes;
        bytes_moved_ += bytes;
        const std::lock_guard lock(mutex_);
        put_[number] = *fetched;
        return;
      }
    thread_local std::vector<std::byte> buffer;
    if (std::ssize(buffer) < bytes) buffer.resize(static_cast<std::size_t>(bytes));
    const auto content = std::span(buffer).first(static_cast<std::size_t>(bytes));
    const std::uint32_t sum = read(begin, content);
    if (context_.moved != nullptr) *context_.moved += bytes;
    if (is_put(number, sum)) return;
    if (held != held_.end() && held->second == sum) {
      receiver_.keep(number, bytes);
    } else {
      receiver_.put(number, content, sum);
      bytes_moved_ += bytes;
    }
    const std::lock_guard lock(mutex_);
    put_[number] = sum;
  }

  std::uint32_t read(Index begin, std::span<std::byte> content) {
    const auto piece = static_cast<std::size_t>(reader_.piece_bytes());
    std::uint32_t sum = 0;
    for (std::size_t done = 0; done < content.size();) {
      const auto into = content.subspan(done, std::min(piece, content.size() - done));
      const Index got = reader_.read(begin + static_cast<Index>(done), into);
      if (got <= 0)
        throw Error(ErrorCode::conflict, fmt::format("the source became shorter than {} bytes while it was copied",
                                                     begin + static_cast<Index>(content.size())));
      sum = codec::crc32c(into.first(static_cast<std::size_t>(got)), sum);
      done += static_cast<std::size_t>(got);
    }
    return sum;
  }

  bool is_put(Index number, std::uint32_t sum) {
    const std::lock_guard lock(mutex_);
    const auto put = put_.find(number);
    return put != put_.end() && put->second == sum;
  }

  Reader& reader_;
  Receiver& receiver_;
  const CopyOptions& options_;
  const CopyContext& context_;
  std::map<Index, std::uint32_t> held_;  ///< not changed while streams run
  std::atomic<Index> bytes_moved_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::map<Index, std::uint32_t> put_;
  std::exception_ptr error_;
};

std::vector<Index> numbers_between(Index begin, Index end) {
  std::vector<Index> numbers;
  for (Index number = begin; number < end; ++number) numbers.push_back(number);
  return numbers;
}

/// The whole file, from one side to the other by themselves. Nobody can slow that down, so not where there is a limit.
bool pull(Reader& reader, Receiver& receiver, Index size_bytes, const CopyContext& context) {
  if (context.limit != nullptr) return false;
  Index told = 0;
  const auto moved = [&](Index bytes) {
    if (context.moved != nullptr) *context.moved += std::min(bytes, size_bytes) - told;
    told = std::min(bytes, size_bytes);
  };
  const bool done = receiver.pull(reader, size_bytes, moved, context.stop);
  moved(done ? size_bytes : 0);
  return done;
}

void wait_a_little(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, kLook, [] { return false; });
}

}  // namespace

CopyResult copy_file(Provider& from, const std::string& source, Provider& to, const std::string& destination,
                     const CopyOptions& options, const CopyContext& context) {
  if (options.streams < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("{} streams; at least 1", options.streams));
  const auto reader = from.open(source);
  CopyResult result;
  result.source = reader->entry().version;
  const bool growing = static_cast<bool>(options.complete);
  const auto receiver = to.receive(destination, {result.source, options.chunk_bytes, growing, options.sha256});
  FileCopy copy(*reader, *receiver, options, context);

  for (Index done = 0; growing;) {
    const bool complete = options.complete(reader->version());
    // Looked at after the question: nothing is added once the answer was yes.
    result.source = reader->version();
    if (complete) break;
    const Index full = result.source.size_bytes / options.chunk_bytes;
    copy.run(numbers_between(done, full), result.source.size_bytes, false);
    done = std::max(done, full);
    wait_a_little(context.stop);
    if (context.stop.stop_requested()) throw stopped();
  }

  // Of a file that was still being written, chunks may have changed after they were copied (the header of an HDF5 file
  // does): all are read once more, and those that differ are put again. So are those left by an attempt at another
  // version.
  const bool trusted = !growing && receiver->held().version == result.source;
  const Index size_bytes = result.source.size_bytes;
  const bool from_nothing = !growing && receiver->held().crc32c.empty();
  if (from_nothing) result.cloned = receiver->clone(*reader);
  bool pulled = from_nothing && !result.cloned && size_bytes > 0 && pull(*reader, *receiver, size_bytes, context);
  if (pulled) result.bytes_moved = size_bytes;
  auto numbers = numbers_between(0, (size_bytes + options.chunk_bytes - 1) / options.chunk_bytes);
  for (int attempt = 0;; ++attempt) {
    if (!std::exchange(pulled, false)) copy.run(numbers, size_bytes, trusted);
    numbers = receiver->verify(size_bytes);
    if (numbers.empty()) break;
    if (attempt == kRepairs)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("chunk {} of {} is read back differently after it was written {} times", numbers.front(),
                              destination, attempt + 1))
          .at(to.name());
    result.chunks_repaired += std::ssize(numbers);
    copy.forget(numbers);
  }
  if (reader->version() != result.source)
    throw Error(ErrorCode::conflict, fmt::format("{} was changed while it was copied", source)).at(from.name());
  result.digests = receiver->commit(result.source, reader->entry().mode);
  result.bytes_moved += copy.bytes_moved();
  return result;
}

}  // namespace farfield::services::transfer

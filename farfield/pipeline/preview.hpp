#pragma once
// Shows products without holding up the computation.

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "farfield/pipeline/driver.hpp"

namespace farfield::pipeline {

class PreviewThread {
public:
  explicit PreviewThread(PreviewSink& sink);
  /// Waits for the preview at hand.
  ~PreviewThread();

  /// Whether offer() would be taken up now; asked before the snapshot is made.
  bool idle() const;
  void offer(model::Product product, std::int64_t iteration);

private:
  void run(std::stop_token stop);

  PreviewSink& sink_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<std::pair<model::Product, std::int64_t>> next_;
  bool busy_ = false;
  std::jthread thread_;
};

}  // namespace farfield::pipeline

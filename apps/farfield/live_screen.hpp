#pragma once
// What is seen of a live run: the picture, the error curve, the account and the rates, drawn over itself in a terminal.

#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "apps/farfield/console.hpp"
#include "farfield/pipeline/result_folder.hpp"

namespace farfield::apps {

enum class PictureKind { automatic, blocks, sixel, none };

/// Thread-safe. Without a terminal (or with PictureKind::none) everything goes on as to a Console.
class LiveScreen final : public pipeline::DriverObserver, public pipeline::PreviewSink {
public:
  /// `account` gives the totals of the running scan, `below` one more line of text. `previews` (null: none) gets what
  /// is shown here, too. All outlive this.
  LiveScreen(Console& console, PictureKind kind, bool terminal, const core::Clock& clock,
             std::function<pipeline::FrameTotals()> account, std::function<std::string()> below,
             pipeline::PreviewSink* previews);
  ~LiveScreen() override;
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;

  void progress(const technique::Progress& progress) override;
  void rejected(model::FrameId id, const std::string& reason) override { console_.rejected(id, reason); }
  void warning(const std::string& message) override;
  void reading(pipeline::Index received, pipeline::Index expected) override;
  void show(const model::Product& product, std::int64_t iteration) override;

private:
  void draw();
  std::string status() const;

  Console& console_;
  PictureKind kind_;
  const core::Clock& clock_;
  std::function<pipeline::FrameTotals()> account_;
  std::function<std::string()> below_;
  pipeline::PreviewSink* previews_;
  std::mutex mutex_;
  bool drawing_;
  std::string picture_;
  int lines_ = 0;  // on the screen, to go back over
  double drawn_s_ = -1e9, stored_s_ = -1e9, begin_s_;
  technique::Progress last_;
  std::vector<double> costs_;
};

}  // namespace farfield::apps

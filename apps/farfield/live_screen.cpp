#include "apps/farfield/live_screen.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "farfield/pipeline/terminal_picture.hpp"

namespace farfield::apps {
namespace {

constexpr double kPeriod_s = 0.2, kStoredPeriod_s = 5;
constexpr std::size_t kCostsKept = 4096;
constexpr int kTextLines = 4;

struct Size {
  int rows = 24, columns = 80;
};
Size terminal_size() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_row, size.ws_col};
}

/// The first `columns` characters of each line: one that wraps would be two lines to go back over.
std::string clipped(const std::string& text, int columns) {
  std::string out;
  int column = 0;
  for (const char c : text) {
    if (c == '\n') column = 0;
    else if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) ++column;  // the first byte of a character
    if (column <= columns) out += c;
  }
  return out;
}

}  // namespace

LiveScreen::LiveScreen(Console& console, PictureKind kind, bool terminal, const core::Clock& clock,
                       std::function<pipeline::FrameTotals()> account, std::function<std::string()> below,
                       pipeline::PreviewSink* previews)
    : console_(console),
      kind_(kind == PictureKind::automatic ? PictureKind::blocks : kind),
      clock_(clock),
      account_(std::move(account)),
      below_(std::move(below)),
      previews_(previews),
      drawing_(terminal && kind != PictureKind::none),
      begin_s_(clock.now_s()) {}

LiveScreen::~LiveScreen() {
  if (lines_ > 0) std::fflush(stderr);
}

void LiveScreen::progress(const technique::Progress& progress) {
  if (!drawing_) return console_.progress(progress);
  const std::lock_guard lock(mutex_);
  last_ = progress;
  if (!progress.values.empty()) {
    if (costs_.size() == kCostsKept) costs_.erase(costs_.begin(), costs_.begin() + kCostsKept / 2);
    costs_.push_back(progress.values.front().second);
  }
  if (clock_.now_s() - drawn_s_ >= kPeriod_s) draw();
}

void LiveScreen::reading(pipeline::Index received, pipeline::Index expected) {
  if (!drawing_) return console_.reading(received, expected);
  const std::lock_guard lock(mutex_);
  if (clock_.now_s() - drawn_s_ >= kPeriod_s) draw();
}

void LiveScreen::warning(const std::string& message) {
  const std::lock_guard lock(mutex_);
  lines_ = 0;  // what is on the screen stays above the warning
  console_.warning(message);
}

void LiveScreen::show(const model::Product& product, std::int64_t iteration) {
  // Pictures in files cost more than those in the terminal.
  if (previews_ != nullptr && clock_.now_s() - stored_s_ >= kStoredPeriod_s) {
    previews_->show(product, iteration);
    stored_s_ = clock_.now_s();
  }
  if (!drawing_) return;
  const auto size = terminal_size();
  const int rows = std::max(4, std::min(size.rows - kTextLines - 1, 40)),
            columns = std::max(8, std::min(size.columns, 100));
  const bool sixel = kind_ == PictureKind::sixel;
  // A line is about 16 pixels high where sixels are known.
  const auto image = pipeline::thumbnail(product, sixel ? rows * 16 : rows * 2, sixel ? columns * 8 : columns);
  const std::lock_guard lock(mutex_);
  if (image) picture_ = sixel ? pipeline::sixels(*image) + "\n" : pipeline::half_blocks(*image);
  draw();
}

std::string LiveScreen::status() const {
  const auto totals = account_();
  const double seconds = clock_.now_s() - begin_s_;
  std::string text = pipeline::to_text(totals);
  text += fmt::format("; {:.0f} frames/s", static_cast<double>(totals.received) / std::max(seconds, 1e-3));
  return text;
}

void LiveScreen::draw() {
  drawn_s_ = clock_.now_s();
  std::string text;
  if (last_.iteration > 0) {
    text += fmt::format("pass {}", last_.iteration);
    for (const auto& [name, value] : last_.values) text += fmt::format("  {} {:.4g}", name, value);
    if (costs_.size() > 1) text += "  " + pipeline::sparkline(costs_, 40);
    text += "\n";
  }
  text += status() + "\n";
  if (const auto below = below_(); !below.empty()) text += below + "\n";
  text = picture_ + clipped(text, terminal_size().columns);

  // Sixels take a number of lines that only the terminal knows: its cursor is kept instead of counting.
  std::string out;
  if (kind_ == PictureKind::sixel) {
    out = lines_ > 0 ? "\x1b[u\x1b[J" : "\x1b[s";
    lines_ = 1;
  } else {
    if (lines_ > 0) out = fmt::format("\x1b[{}A\r\x1b[J", lines_);
    lines_ = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
  }
  out += text;
  std::fwrite(out.data(), 1, out.size(), stderr);
  std::fflush(stderr);
}

}  // namespace farfield::apps

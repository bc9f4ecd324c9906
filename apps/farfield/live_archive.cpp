#include "apps/farfield/live_archive.hpp"

#include <fmt/format.h>

#include "farfield/io/atomic_file.hpp"

namespace farfield::apps {

namespace fs = std::filesystem;

void LiveArchive::check() const {
  if (target_.empty()) return;
  std::error_code ignored;
  const bool folder = target_.ends_with('/') || fs::is_directory(target_, ignored);
  if (folder) fs::create_directories(target_, ignored);
  const io::AtomicFile probe(folder ? fs::path(target_) / "probe" : fs::path(target_));
}

decltype(stream::dectris::SeriesOptions::tap) LiveArchive::tap() {
  if (target_.empty()) return {};
  return
      [this](model::FrameId id, const stream::dectris::PackedPixels& pixels, const std::shared_ptr<const void>& owner) {
        if (archive_) archive_->put(id, pixels, owner);
      };
}

fs::path LiveArchive::path_of(const stream::dectris::Series& series, std::int64_t number) const {
  fs::path target(target_);
  std::error_code ignored;
  if (target_.ends_with('/') || fs::is_directory(target, ignored)) {
    return target / fmt::format("series_{}_{:03}.h5", series.id().number, number);
  }
  if (!several_) return target;
  return target.parent_path() / fmt::format("{}_{:03}{}", target.stem().string(), number, target.extension().string());
}

void LiveArchive::begin(const stream::dectris::Series& series, std::int64_t number, std::stop_token stop) {
  archive_.reset();
  notes_.clear();
  if (!target_.empty())
    archive_.emplace(path_of(series, number), series.acquisition(), core::Index{256} << 20, std::move(stop));
}

void LiveArchive::annotate(std::span<const std::pair<model::FrameId, model::Values>> values) {
  if (archive_) archive_->annotate(values);
}

void LiveArchive::note(const std::string& name, const std::string& text) { notes_[name] = text; }

int LiveArchive::finish(stream::dectris::Series& series, std::stop_token stop, Console& console) {
  if (!archive_) return core::kExitOk;
  int code = core::kExitOk;
  try {
    const auto take = [&](const model::FrameBatch& batch) { archive_->annotate(batch.values); };
    while (!stop.stop_requested() && series.next(stop, take)) {}
    notes_["series_state"] = series.state() == stream::dectris::SeriesState::running
                                 ? "stopped"
                                 : std::string(stream::dectris::name(series.state()));
    archive_->commit(notes_);
    const auto& t = archive_->totals();
    console.note(fmt::format("archive {}: {} frames, {:.1f} MB", archive_->path().string(), t.frames,
                             static_cast<double>(t.bytes) / 1e6));
  } catch (const core::Error& e) {
    console.error(e);
    code = core::traits(e.code()).exit_code;
  }
  archive_.reset();
  return code;
}

}  // namespace farfield::apps

#pragma once
// Where the outcome of an analysis goes: a folder with the product, its numbers, its pictures and the account.

#include <filesystem>
#include <string>
#include <vector>

#include "farfield/model/product.hpp"
#include "farfield/pipeline/driver.hpp"
#include "farfield/pipeline/frame_account.hpp"

namespace farfield::pipeline {

/// result.cxi       the product, every dataset; result.h5 for techniques with a layout of their own (io::result_name)
/// metrics.json     numbers and provenance
/// frames.json      the frame account
/// <dataset>*.png   pictures (draw.hpp)
/// Every file appears complete or not at all; the result is written last, so where it is, the others are.
/// A path that ends in .h5, .hdf or .hdf5 is that of the result itself, in the layout that its technique is known by
/// (io::write_product); everything else goes to the folder of the same name without the ending.
class ResultFolder {
public:
  /// Makes the folder and checks that it can be written, so that hours of work are not lost at their end.
  /// Throws `io` with the path.
  explicit ResultFolder(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path checkpoint() const { return path_ / "checkpoint.ffc"; }

  /// Writes everything; returns the paths written, the result last.
  std::vector<std::filesystem::path> write(const model::Product& product, const FrameTotals* frames) const;
  /// Pictures only, named <prefix><dataset>*.png.
  std::vector<std::filesystem::path> write_pictures(const model::Product& product, const std::string& prefix) const;

private:
  std::filesystem::path path_, result_;  ///< result_ empty: in the folder
};

/// Shows previews as pictures preview_*.png in the folder.
class PreviewFolder final : public PreviewSink {
public:
  /// With write = false it takes previews and does nothing: for ranks that only keep step with the one that writes.
  explicit PreviewFolder(const ResultFolder& folder, bool write = true) : folder_(folder), write_(write) {}
  void show(const model::Product& product, std::int64_t iteration) override;
  /// Takes the preview pictures away, once the final ones are there.
  void clear();

private:
  const ResultFolder& folder_;
  bool write_;
  std::vector<std::filesystem::path> written_;
};

}  // namespace farfield::pipeline

#include "farfield/techniques/xpcs/qmap.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace farfield::techniques::xpcs {
namespace {

/// 2 x 4 pixels: static bins 1 1 2 2 / 3 3 3 0, dynamic bins 1 1 1 1 / 2 2 1 0.
QMap small() {
  QMap map;
  map.dynamic_roi_map = core::Array<std::uint32_t, 2>({2, 4});
  map.static_roi_map = core::Array<std::uint32_t, 2>({2, 4});
  const std::uint32_t dynamic[] = {1, 1, 1, 1, 2, 2, 1, 0}, fixed[] = {1, 1, 2, 2, 3, 3, 3, 0};
  std::copy(std::begin(dynamic), std::end(dynamic), map.dynamic_roi_map.begin());
  std::copy(std::begin(fixed), std::end(fixed), map.static_roi_map.begin());
  map.axes = {{"q", "1/A"}, {"phi", "deg"}};
  map.dynamic_v_list[0] = {0.1, 0.2};
  map.dynamic_v_list[1] = {-90, 90};
  map.dynamic_index_mapping = {1, 2};
  map.beam_center_x_px = 1.5;
  map.energy_eV = 8000;
  return map;
}

std::string refusal(const std::function<void(QMap&)>& spoil) {
  auto map = small();
  spoil(map);
  try {
    validate(map, "map.h5");
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), core::ErrorCode::corrupt_data);
    return e.what();
  }
  return "";
}

TEST(QMap, PixelsInOrderOfStaticBin) {
  Index straddling = -1;
  const auto order = order_pixels(small(), {}, &straddling);
  EXPECT_EQ(order.pixel, (std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(order.first_slot, (std::vector<Index>{0, 2, 4, 7}));
  EXPECT_EQ(order.slot[7], PixelOrder::kUnused);
  // Static bin 3 has two pixels in dynamic bin 2 and one in 1: the whole of it counts for 2, and none vanishes.
  EXPECT_EQ(order.dynamic_of, (std::vector<std::uint32_t>{1, 1, 2}));
  EXPECT_EQ(straddling, 1);
}

TEST(QMap, MasksTakePixelsAway) {
  auto map = small();
  map.mask = core::Array<std::uint8_t, 2>({2, 4}, 1);
  map.mask(0, 1) = 0;
  core::Array<std::uint32_t, 2> bad({2, 4});
  bad(0, 2) = bad(0, 3) = model::pixel_mask::kDead;
  const auto order = order_pixels(map, bad.view());
  EXPECT_EQ(order.pixel, (std::vector<std::uint32_t>{0, 4, 5, 6}));
  EXPECT_EQ(order.first_slot, (std::vector<Index>{0, 1, 1, 4}));
  EXPECT_EQ(order.dynamic_of[1], 0U) << "an empty static bin is of no dynamic bin";
  bad.fill(1);
  EXPECT_THROW(order_pixels(map, bad.view()), core::Error);
  EXPECT_THROW(order_pixels(map, core::Array<std::uint32_t, 2>({4, 2}).view()), core::Error);
}

TEST(QMap, TravelsAsInputs) {
  model::Acquisition a;
  a.inputs = to_inputs(small());
  a.inputs["qmap/blemish"] = core::AnyArray(core::Array<std::uint8_t, 2>({2, 4}, 1));
  a.metadata["qmap/map_names"] = axis_names(small());
  a.metadata["qmap/map_units"] = axis_units(small());
  const auto map = qmap_from(a);
  EXPECT_TRUE(std::equal(map.static_roi_map.begin(), map.static_roi_map.end(), small().static_roi_map.begin()));
  EXPECT_EQ(map.mask.size(), 8);
  ASSERT_EQ(map.axes.size(), 2U);
  EXPECT_EQ(map.axes[1].unit, "deg");
  EXPECT_EQ(map.beam_center_x_px, 1.5);
  EXPECT_EQ(map.energy_eV, 8000);
  // Two phi bins a q: bin 1 is (q 0, phi 1), bin 2 is (q 1, phi 0).
  EXPECT_EQ(map.q(), (std::vector<double>{0.1, 0.2}));
}

TEST(QMap, QIsNotGuessed) {
  auto map = small();
  map.dynamic_v_list[0].clear();
  for (const double q : map.q()) EXPECT_TRUE(std::isnan(q));
}

TEST(QMap, RefusesWhatCannotBe) {
  EXPECT_EQ(refusal([](QMap&) {}), "");
  EXPECT_NE(refusal([](QMap& m) { m.static_roi_map = core::Array<std::uint32_t, 2>({4, 2}, 1); }), "");
  EXPECT_NE(refusal([](QMap& m) { m.dynamic_roi_map.fill(0); }), "");
  EXPECT_NE(refusal([](QMap& m) { m.static_roi_map(0, 0) = 0; }), "");
  EXPECT_NE(refusal([](QMap& m) { m.static_roi_map(0, 0) = 9; }), "");
  EXPECT_NE(refusal([](QMap& m) { m.dynamic_index_mapping = {1, 4}; }), "");
  EXPECT_NE(refusal([](QMap& m) { m.mask = core::Array<std::uint8_t, 2>({2, 2}, 1); }), "");
  model::Acquisition none;
  EXPECT_THROW(qmap_from(none), core::Error);
  core::Array<float, 2> halves({2, 2}, 0.5F);
  none.inputs["qmap/dynamic_roi_map"] = core::AnyArray(halves);
  EXPECT_THROW(qmap_from(none), core::Error);
}

}  // namespace
}  // namespace farfield::techniques::xpcs

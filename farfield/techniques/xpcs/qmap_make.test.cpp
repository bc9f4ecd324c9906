#include "farfield/techniques/xpcs/qmap_make.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numbers>
#include <set>

namespace farfield::techniques::xpcs {
namespace {

QMapOptions small() {
  QMapOptions o;
  o.shape = {60, 80};
  o.beam_center_px = {20.5, 33};
  o.distance_m = 5;
  o.pixel_size_m = 75e-6;
  o.energy_eV = 10000;
  o.first.bins = 4;
  o.first.static_per_bin = 3;
  return o;
}

std::string refusal(const QMapOptions& o) {
  try {
    make_qmap(o);
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), core::ErrorCode::invalid_argument);
    return e.what();
  }
  return "";
}

double q_of(const QMapOptions& o, Index y, Index x) {
  const double dy = static_cast<double>(y) - o.beam_center_px[0], dx = static_cast<double>(x) - o.beam_center_px[1];
  return q_at(std::hypot(dy, dx) * o.pixel_size_m, o.distance_m, o.energy_eV);
}

// 12398.42 eV are 1 A; at 45 degrees q = 4 pi sin(22.5 deg).
TEST(QMapMake, QIsThatOfElasticScattering) {
  EXPECT_NEAR(q_at(2, 2, 12398.41984332), 4 * std::numbers::pi * std::sin(std::numbers::pi / 8), 1e-9);
  // Small angles: k r / d.
  EXPECT_NEAR(q_at(75e-6, 5, 12398.41984332), 2 * std::numbers::pi * 15e-6, 1e-12);
}

TEST(QMapMake, EveryPixelIsInTheBinOfItsQ) {
  for (const auto spacing : {Spacing::linear, Spacing::logarithmic}) {
    auto o = small();
    o.first.spacing = spacing;
    o.first.range = {2e-4, 1.5e-3};
    const auto map = make_qmap(o);
    EXPECT_EQ(map.dynamic_bins(), 4);
    EXPECT_EQ(map.static_bins(), 12);
    for (Index y = 0; y < map.ny(); ++y)
      for (Index x = 0; x < map.nx(); ++x) {
        const double q = q_of(o, y, x);
        const double part = spacing == Spacing::linear ? (q - 2e-4) / 1.3e-3 : std::log(q / 2e-4) / std::log(7.5);
        const auto expected = part < 0 || part > 1 ? 0U : static_cast<unsigned>(part * 4) + 1;
        // A pixel on an edge may fall to either side.
        if (std::abs(part * 4 - std::round(part * 4)) > 1e-9) {
          EXPECT_EQ(map.dynamic_roi_map(y, x), expected);
        }
      }
  }
}

TEST(QMapMake, StaticBinsLieWithinDynamicOnes) {
  auto o = small();
  o.second.bins = 6;
  o.second.static_per_bin = 5;
  const auto map = make_qmap(o);
  std::map<std::uint32_t, std::set<std::uint32_t>> parents;
  for (Index i = 0; i < map.dynamic_roi_map.size(); ++i) {
    EXPECT_EQ(map.dynamic_roi_map.data()[i] == 0, map.static_roi_map.data()[i] == 0);
    parents[map.static_roi_map.data()[i]].insert(map.dynamic_roi_map.data()[i]);
  }
  for (const auto& [bin, dynamic] : parents) EXPECT_EQ(dynamic.size(), 1U) << bin;
  EXPECT_EQ(static_cast<Index>(map.dynamic_index_mapping.size()), map.dynamic_bins()) << "numbers have no gaps";
  EXPECT_EQ(static_cast<Index>(map.static_index_mapping.size()), map.static_bins());
  // q() goes from the number of a bin to its centre through the mapping.
  const auto q = map.q();
  for (Index i = 0; i < map.dynamic_roi_map.size(); ++i)
    if (const auto bin = map.dynamic_roi_map.data()[i]; bin > 0) {
      const double step = map.dynamic_v_list[0][1] - map.dynamic_v_list[0][0];
      EXPECT_NEAR(q[bin - 1], q_of(o, i / map.nx(), i % map.nx()), step * 0.5 + 1e-12);
    }
}

TEST(QMapMake, PhiTurnsCounterClockwiseFromTheColumns) {
  auto o = small();
  o.shape = {41, 41};
  o.beam_center_px = {20, 20};
  o.first.bins = o.first.static_per_bin = 1;
  o.second.bins = 4;
  const auto map = make_qmap(o);
  EXPECT_EQ(map.dynamic_roi_map(25, 5), 1U) << "[-180, -90): below, left";
  EXPECT_EQ(map.dynamic_roi_map(25, 35), 2U);
  EXPECT_EQ(map.dynamic_roi_map(15, 35), 3U) << "[0, 90): above, right";
  EXPECT_EQ(map.dynamic_roi_map(15, 5), 4U);
}

TEST(QMapMake, SymmetricSectorsAreOne) {
  auto o = small();
  o.shape = {41, 41};
  o.beam_center_px = {20, 20};
  o.symmetry = 2;
  o.second.bins = 6;
  const auto map = make_qmap(o);
  for (Index y = 0; y < 41; ++y)
    for (Index x = 0; x < 41; ++x) {
      if (y == 20 && x == 20) continue;
      EXPECT_EQ(map.dynamic_roi_map(y, x), map.dynamic_roi_map(40 - y, 40 - x));
    }
  EXPECT_EQ(map.dynamic_bins(), 24);
  EXPECT_DOUBLE_EQ(map.dynamic_v_list[1].front(), 15);
}

TEST(QMapMake, GridsNeedNoGeometry) {
  QMapOptions o;
  o.shape = {10, 12};
  o.beam_center_px = {0, 0};
  o.kind = MapKind::x_y;
  o.first = {{}, {0, 4, 6, 11}, 1, 1, Spacing::linear};
  o.second = {{0, 8}, {}, 2, 2, Spacing::linear};
  const auto map = make_qmap(o);
  EXPECT_EQ(map.axes[0].name, "x");
  EXPECT_EQ(map.dynamic_roi_map(0, 0), 1U);
  EXPECT_EQ(map.dynamic_roi_map(4, 0), 2U);
  EXPECT_EQ(map.dynamic_roi_map(0, 4), 3U);
  EXPECT_EQ(map.dynamic_roi_map(8, 11), 6U) << "the last bin holds its upper edge";
  EXPECT_EQ(map.dynamic_roi_map(9, 0), 0U);
  EXPECT_FALSE(map.energy_eV.has_value());
}

TEST(QMapMake, RefusesWhatCannotBe) {
  auto o = small();
  o.energy_eV = 0;
  EXPECT_NE(refusal(o).find("needs option energy > 0"), std::string::npos);
  o = small();
  o.first.range = {0, 1};
  o.first.spacing = Spacing::logarithmic;
  EXPECT_NE(refusal(o).find("begins at 0; on a logarithmic scale"), std::string::npos);
  o = small();
  o.first.range = {5, 6};
  EXPECT_NE(refusal(o).find("no pixel has q from 5 to 6"), std::string::npos);
  o = small();
  o.first.range = {2, 1};
  EXPECT_NE(refusal(o).find("must grow"), std::string::npos);
  o = small();
  o.first.edges = {1e-4, 3e-4, 3e-4};
  EXPECT_NE(refusal(o).find("edges of q must grow"), std::string::npos);
  o = small();
  o.first.static_per_bin = 5000;
  EXPECT_NE(refusal(o).find("20000 static bins are too many for 4800 pixels"), std::string::npos);
  o = small();
  o.second.range = {0, 200};
  o.symmetry = 2;
  EXPECT_NE(refusal(o).find("more than the 180 degrees"), std::string::npos);
  o = small();
  o.shape = {0.5, 3};
  EXPECT_NE(refusal(o).find("option shape"), std::string::npos);
}

}  // namespace
}  // namespace farfield::techniques::xpcs

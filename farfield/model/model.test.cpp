#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "farfield/model/acquisition.hpp"
#include "farfield/model/product.hpp"

namespace farfield::model {
namespace {

using core::Error;
using core::ErrorCode;

Acquisition whole() {
  Acquisition a;
  a.title = "Siemens star";
  a.source = "scan.cxi";
  a.beam.energy_eV = 8800;
  a.detector.ny = 4;
  a.detector.nx = 6;
  a.detector.distance_m = 1.92;
  a.detector.pixel_size_y_m = a.detector.pixel_size_x_m = 75e-6;
  a.detector.saturation_counts = 1e6;
  a.detector.pixel_mask = core::Array<std::uint32_t, 2>({4, 6});
  a.scan.unit = PositionUnit::metres;
  a.inputs["probe"] = core::AnyArray(core::DType::c64, {1, 4, 6});
  a.metadata["sample"] = "star";
  return a;
}

std::string refusal(const std::function<void(Acquisition&)>& spoil) {
  Acquisition a = whole();
  spoil(a);
  try {
    validate(a, "scan.cxi");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::corrupt_data);
    return e.what();
  }
  return "accepted";
}

TEST(Beam, WavelengthOfTenKiloelectronvolts) {
  Beam beam;
  EXPECT_FALSE(beam.wavelength_m());
  beam.energy_eV = 10e3;
  // 12.39841984 keV Angstrom / 10 keV.
  EXPECT_NEAR(*beam.wavelength_m(), 1.239841984e-10, 1e-19);
}

TEST(Validate, AcceptsAWholeAcquisitionAndOneThatKnowsOnlyItsFrames) {
  EXPECT_EQ(refusal([](Acquisition&) {}), "accepted");
  Acquisition bare;
  bare.detector.ny = bare.detector.nx = 128;
  EXPECT_NO_THROW(validate(bare, "scan.npz"));
}

TEST(Validate, SaysWhatWhichValueWhatIsAllowedAndWhere) {
  EXPECT_EQ(refusal([](auto& a) { a.detector.distance_m = -0.12; }),
            "detector distance -0.12 m must be > 0 and at most 10000 m (scan.cxi)");
  EXPECT_EQ(refusal([](auto& a) { a.detector.pixel_mask = core::Array<std::uint32_t, 2>({6, 4}); }),
            "pixel mask of 6 x 4 must have the shape of the frames, 4 x 6 (scan.cxi)");
}

TEST(Validate, RefusesWhatNoInstrumentHas) {
  for (const double v :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_NE(refusal([v](auto& a) { a.beam.energy_eV = v; }), "accepted") << v;
    EXPECT_NE(refusal([v](auto& a) { a.detector.distance_m = v; }), "accepted") << v;
    EXPECT_NE(refusal([v](auto& a) { a.detector.pixel_size_y_m = v; }), "accepted") << v;
    EXPECT_NE(refusal([v](auto& a) { a.detector.pixel_size_x_m = v; }), "accepted") << v;
    EXPECT_NE(refusal([v](auto& a) { a.detector.saturation_counts = v; }), "accepted") << v;
  }
  for (const core::Index side : {core::Index{0}, core::Index{-1}, core::Index{1} << 40})
    EXPECT_NE(refusal([side](auto& a) { a.detector.ny = side; }), "accepted") << side;
}

TEST(Validate, FindsSlipsOfUnits) {
  EXPECT_NE(refusal([](auto& a) { a.beam.energy_eV = 8800 * kJoulePerEv; }), "accepted");  // J where eV was meant
  EXPECT_NE(refusal([](auto& a) { a.detector.pixel_size_y_m = 75; }), "accepted");         // um where m was meant
}

TEST(Acquisition, CloneIsWholeAndApart) {
  Acquisition a = whole();
  a.detector.dc = DcLocation::corner;
  a.detector.dtype = core::DType::f32;
  a.scan.expected_frames = 7;
  a.checksum = "sha256:00";
  Acquisition b = a.clone();
  a.detector.pixel_mask(1, 2) = pixel_mask::kDead;
  EXPECT_EQ(b.detector.pixel_mask(1, 2), 0U);
  EXPECT_EQ(b.detector.pixel_mask.extents(), a.detector.pixel_mask.extents());
  EXPECT_EQ(b.detector.dc, DcLocation::corner);
  EXPECT_EQ(b.detector.dtype, core::DType::f32);
  EXPECT_EQ(b.detector.ny, 4);
  EXPECT_EQ(b.detector.nx, 6);
  EXPECT_EQ(b.detector.distance_m, a.detector.distance_m);
  EXPECT_EQ(b.detector.pixel_size_y_m, a.detector.pixel_size_y_m);
  EXPECT_EQ(b.detector.pixel_size_x_m, a.detector.pixel_size_x_m);
  EXPECT_EQ(b.detector.saturation_counts, a.detector.saturation_counts);
  EXPECT_EQ(b.beam.energy_eV, a.beam.energy_eV);
  EXPECT_EQ(b.scan.expected_frames, 7);
  EXPECT_EQ(b.scan.unit, PositionUnit::metres);
  EXPECT_EQ(b.checksum, a.checksum);
  EXPECT_EQ(b.title, a.title);
  EXPECT_EQ(b.source, a.source);
  EXPECT_EQ(b.metadata, a.metadata);
  EXPECT_EQ(b.inputs.at("probe").data(), a.inputs.at("probe").data());
}

TEST(Product, FindsDatasetsByName) {
  Product p;
  p.datasets.push_back({"object", core::AnyArray(core::DType::c64, {2, 2}), "", {"y", "x"}, "transmission"});
  ASSERT_NE(p.find("object"), nullptr);
  EXPECT_EQ(p.find("object")->help, "transmission");
  EXPECT_EQ(p.find("probe"), nullptr);
}

}  // namespace
}  // namespace farfield::model

#include "farfield/techniques/ptychography/kernels.hpp"

#include <utility>

namespace farfield::techniques::ptychography {

namespace v2 {
const Kernels& kernels();
}
namespace v3 {
const Kernels& kernels();
}
namespace v4 {
const Kernels& kernels();
}

void ModulusLanes::gather(ModulusSums& into) {
  const auto take = [](float(&lanes)[kLanes]) {
    double sum = 0;
    for (float& v : lanes) sum += static_cast<double>(std::exchange(v, 0.0F));
    return sum;
  };
  into.cost += take(cost);
  into.abs_difference += take(abs_difference);
  into.amplitude += take(amplitude);
  into.model_intensity += take(model_intensity);
  into.measured_intensity += take(measured_intensity);
  into.valid += take(valid);
}

const Kernels& cpu_kernels(core::Isa isa) {
  switch (isa) {
    case core::Isa::v4: return v4::kernels();
    case core::Isa::v3: return v3::kernels();
    default: return v2::kernels();
  }
}

}  // namespace farfield::techniques::ptychography

#include "farfield/techniques/ptychography/kernels.hpp"

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

const Kernels& cpu_kernels(core::Isa isa) {
  switch (isa) {
    case core::Isa::v4: return v4::kernels();
    case core::Isa::v3: return v3::kernels();
    default: return v2::kernels();
  }
}

}  // namespace farfield::techniques::ptychography

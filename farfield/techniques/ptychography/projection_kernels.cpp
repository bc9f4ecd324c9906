#include "farfield/techniques/ptychography/projection_kernels.hpp"

namespace farfield::techniques::ptychography {

namespace v2 {
const ProjectionKernels& projection_kernels();
}
namespace v3 {
const ProjectionKernels& projection_kernels();
}
namespace v4 {
const ProjectionKernels& projection_kernels();
}

const ProjectionKernels& cpu_projection_kernels(core::Isa isa) {
  switch (isa) {
    case core::Isa::v4: return v4::projection_kernels();
    case core::Isa::v3: return v3::projection_kernels();
    default: return v2::projection_kernels();
  }
}

}  // namespace farfield::techniques::ptychography

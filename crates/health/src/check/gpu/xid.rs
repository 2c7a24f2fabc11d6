//! Xids: the numbers under which NVIDIA's driver reports errors, with what NVIDIA says is to
//! be done at once ("Resolution Bucket (Immediate Action)").
//!
//! Source: NVIDIA, "Analyzing Xid Errors with the Xid Catalog",
//! <https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html>, for Ampere and
//! later. The numbers that occur on servers are here; what the catalog calls unused, and
//! what is not in it, is [`Class::Unlisted`].

use evenkeel_domain::check::CheckState;

/// NVIDIA's classes of what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Ignore,
    RestartApp,
    ResetGpu,
    RestartBareMetal,
    RestartVm,
    ContactSupport,
    CheckMechanicals,
    /// Reset the GPU; with 63 or 64 drain it first; replace it when it comes again.
    DoubleBit,
    /// Look for what came before.
    Cleanup,
    NvLink,
    NvLink5,
    /// Its message names what is to be done.
    RecoveryAction,
    /// Not in the table.
    Unlisted,
}

impl Class {
    /// NVIDIA's name.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ignore => "IGNORE",
            Self::RestartApp => "RESTART_APP",
            Self::ResetGpu => "RESET_GPU",
            Self::RestartBareMetal => "RESTART_BM",
            Self::RestartVm => "RESTART_VM",
            Self::ContactSupport => "CONTACT_SUPPORT",
            Self::CheckMechanicals => "CHECK_MECHANICALS",
            Self::DoubleBit => "WORKFLOW_XID_48",
            Self::Cleanup => "WORKFLOW_XID_45",
            Self::NvLink => "WORKFLOW_NVLINK_ERR",
            Self::NvLink5 => "WORKFLOW_NVLINK5_ERR",
            Self::RecoveryAction => "XID_154",
            Self::Unlisted => "not in our table",
        }
    }

    /// What a person can do.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Ignore => "nothing",
            Self::RestartApp => "restart what runs on it",
            Self::ResetGpu => "stop what runs on it, then `nvidia-smi -r`",
            Self::RestartBareMetal => "restart the machine",
            Self::RestartVm => "restart the virtual machine",
            Self::ContactSupport => "call the vendor's support",
            Self::CheckMechanicals => "see to its power connectors and seat",
            Self::DoubleBit => "stop what runs on it, reset it; replace it if it comes again",
            Self::Cleanup => "look for the Xid before it in the kernel's log",
            Self::NvLink | Self::NvLink5 => "see `nvidia-smi nvlink`; reset it or the machine",
            Self::RecoveryAction => "the kernel's log names what is to be done",
            Self::Unlisted => "look it up in NVIDIA's Xid catalog",
        }
    }

    /// How bad it is.
    pub(super) const fn state(self) -> CheckState {
        match self {
            Self::Ignore => CheckState::Ok,
            Self::Cleanup | Self::Unlisted => CheckState::Warning,
            _ => CheckState::Critical,
        }
    }

    /// Whether what runs on the GPU can go on at all: not when it is to be restarted, nor
    /// when that is taken away under it.
    pub(super) const fn is_definite(self) -> bool {
        matches!(
            self,
            Self::RestartApp
                | Self::ResetGpu
                | Self::RestartBareMetal
                | Self::RestartVm
                | Self::DoubleBit
        )
    }
}

/// Number, what NVIDIA calls it, class.
const TABLE: &[(u64, &str, Class)] = &[
    (8, "GPU stopped processing", Class::RestartApp),
    (11, "invalid or corrupted push buffer stream", Class::RestartApp),
    (13, "graphics engine exception", Class::RestartApp),
    (25, "invalid or illegal push buffer stream", Class::RestartApp),
    (31, "GPU memory page fault", Class::RestartApp),
    (32, "invalid or corrupted push buffer stream", Class::RestartApp),
    (41, "copy engine exception", Class::RestartApp),
    (43, "GPU stopped processing", Class::Ignore),
    (45, "preemptive cleanup, due to previous errors", Class::Cleanup),
    (46, "GPU stopped processing", Class::ResetGpu),
    (48, "double bit ECC error", Class::DoubleBit),
    (54, "auxiliary power is not connected", Class::CheckMechanicals),
    (62, "internal micro-controller halt", Class::ResetGpu),
    (63, "GPU memory remapping event", Class::Ignore),
    (64, "GPU memory remapping failure", Class::ResetGpu),
    (74, "NVLink error", Class::NvLink),
    (79, "GPU has fallen off the bus", Class::RestartBareMetal),
    (92, "high single-bit ECC error rate", Class::Ignore),
    (94, "contained memory error", Class::RestartApp),
    (95, "uncontained memory error", Class::ResetGpu),
    (109, "context switch timeout", Class::ResetGpu),
    (110, "security fault", Class::ResetGpu),
    (119, "GSP RPC timeout", Class::ResetGpu),
    (120, "GSP error", Class::ResetGpu),
    (136, "link training failed", Class::ResetGpu),
    (137, "NVLink privilege error", Class::Ignore),
    (140, "unrecovered ECC error", Class::ResetGpu),
    (142, "NVENC3 error", Class::ContactSupport),
    (143, "GPU initialization error", Class::ResetGpu),
    (144, "NVLink: SAW error", Class::NvLink5),
    (145, "NVLink: RLW error", Class::NvLink5),
    (146, "NVLink: TLW error", Class::NvLink5),
    (147, "NVLink: TREX error", Class::NvLink5),
    (148, "NVLink: NVLPW_CTRL error", Class::NvLink5),
    (149, "NVLink: NETIR error", Class::NvLink5),
    (150, "NVLink: MSE error", Class::NvLink5),
    (151, "key rotation error", Class::RestartVm),
    (154, "GPU recovery action changed", Class::RecoveryAction),
    (155, "NVLink: software defined error", Class::ResetGpu),
    (156, "resource retirement event", Class::ResetGpu),
    (157, "resource retirement failure", Class::Ignore),
    (158, "GPU fatal timeout", Class::ResetGpu),
];

/// What a number stands for.
pub(super) fn of(code: u64) -> (&'static str, Class) {
    match TABLE.binary_search_by_key(&code, |(known, ..)| *known) {
        Ok(at) => (TABLE[at].1, TABLE[at].2),
        Err(_) => ("an error", Class::Unlisted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_known_ones_are_found() {
        assert!(TABLE.is_sorted_by_key(|(code, ..)| *code));
        for (code, label, definite) in [
            (79, "RESTART_BM", true),
            (48, "WORKFLOW_XID_48", true),
            (31, "RESTART_APP", true),
            (63, "IGNORE", false),
            (74, "WORKFLOW_NVLINK_ERR", false),
            (142, "CONTACT_SUPPORT", false),
            (9999, "not in our table", false),
        ] {
            let (_, class) = of(code);
            assert_eq!((class.label(), class.is_definite()), (label, definite), "{code}");
            assert!(!definite || class.state() == CheckState::Critical);
        }
    }
}

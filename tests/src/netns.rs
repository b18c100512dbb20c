//! Machines of a network that is none: network namespaces, each with a link to its neighbours and another to everybody else, which can be
//! cut apart. Needs root; all of it is gone when dropped.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use crate::Result;

/// The network.
#[derive(Debug)]
pub struct Network {
    /// What names of this one begin with: interfaces have 15 letters at most.
    mark: String,
    count: u8,
}

/// One of a machine's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// To the other machines.
    Neighbours,
    /// To clients and the origin.
    World,
}

impl Link {
    const BOTH: [Self; 2] = [Self::Neighbours, Self::World];

    fn letter(self) -> char {
        match self {
            Self::Neighbours => 'n',
            Self::World => 'w',
        }
    }

    fn network(self) -> [u8; 3] {
        match self {
            Self::Neighbours => [10, 231, 77],
            Self::World => [10, 231, 78],
        }
    }
}

impl Network {
    /// So many machines.
    ///
    /// # Errors
    /// What `ip` says, where this process may not do it; nothing is left behind then.
    pub fn new(count: u8) -> Result<Self> {
        let network = Self { mark: format!("ac{}", std::process::id() % 100_000), count };
        network.make()?;
        Ok(network)
    }

    fn make(&self) -> Result<()> {
        for link in Link::BOTH {
            let bridge = self.bridge(link);
            ip(&format!("link add {bridge} type bridge"))?;
            ip(&format!("link set {bridge} up"))?;
        }
        // The world is where this process is; neighbours are among themselves.
        ip(&format!("addr add {}/24 dev {}", self.outside(), self.bridge(Link::World)))?;
        for at in 0..self.count {
            let machine = self.machine(at);
            ip(&format!("netns add {machine}"))?;
            ip(&format!("-n {machine} link set lo up"))?;
            for link in Link::BOTH {
                let (near, far) = (self.port(at, link), self.inner(at, link));
                ip(&format!("link add {near} type veth peer name {far} netns {machine}"))?;
                ip(&format!("link set {near} master {} up", self.bridge(link)))?;
                ip(&format!("-n {machine} addr add {}/24 dev {far}", self.address(at, link)))?;
                ip(&format!("-n {machine} link set {far} up"))?;
            }
        }
        Ok(())
    }

    /// Where this process is reached by all machines.
    #[must_use]
    pub fn outside(&self) -> IpAddr {
        let [a, b, c] = Link::World.network();
        Ipv4Addr::new(a, b, c, 254).into()
    }

    /// A machine's address on a link.
    #[must_use]
    pub fn address(&self, at: u8, link: Link) -> IpAddr {
        let [a, b, c] = link.network();
        Ipv4Addr::new(a, b, c, at + 1).into()
    }

    /// The words by which a command is run on a machine; it becomes that command.
    #[must_use]
    pub fn on(&self, at: u8) -> Vec<String> {
        ["ip", "netns", "exec", &self.machine(at)].map(str::to_owned).to_vec()
    }

    /// Cuts a link or joins it again.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn set(&self, at: u8, link: Link, joined: bool) -> Result<()> {
        ip(&format!("link set {} {}", self.port(at, link), if joined { "up" } else { "down" }))
    }

    fn machine(&self, at: u8) -> String {
        format!("{}-{at}", self.mark)
    }

    fn bridge(&self, link: Link) -> String {
        format!("{}b{}", self.mark, link.letter())
    }

    fn port(&self, at: u8, link: Link) -> String {
        format!("{}{}{at}", self.mark, link.letter())
    }

    fn inner(&self, at: u8, link: Link) -> String {
        format!("{}i{at}", link.letter())
    }
}

impl Drop for Network {
    /// What was never made cannot be removed, which is as well.
    fn drop(&mut self) {
        for at in 0..self.count {
            for link in Link::BOTH {
                let _ = ip(&format!("link del {}", self.port(at, link)));
            }
            let _ = ip(&format!("netns del {}", self.machine(at)));
        }
        for link in Link::BOTH {
            let _ = ip(&format!("link del {}", self.bridge(link)));
        }
    }
}

fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip").args(words.split(' ')).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

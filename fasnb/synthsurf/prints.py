"""The printed attacks of SynthSURF: how a photograph is printed, and the sheet that is held before a real face."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from fasnb.synthsurf.draws import Draws, Rows
from fasnb.synthsurf.faces import EYE, MOUTH_Y, Identity, Pose, View, view_of
from fasnb.synthsurf.sensors import HALF_FIELD, Preset, blurred, power, to_grey

CUT_OUTS = {1: (1, 0, 0), 2: (1, 0, 0), 3: (1, 1, 0), 4: (1, 1, 0), 5: (1, 1, 1), 6: (1, 1, 1)}
"""Attack of Table 1 -> are eyes, nose, mouth cut out. Even attacks are bent sheets, odd ones flat."""

_HOLES = ((0.37, 0.08, 0.23, 0.13), (0.0, -0.14, 0.20, 0.36), (0.0, -0.66, 0.30, 0.15))  # x, y, half axes; head units


# ---- the printer ----------------------------------------------------------------------------------------------------


@dataclass
class Printer(Rows):
    """How one sheet was printed. Shapes (n, 1, 1, 1) unless stated."""

    blur: Tensor
    black: Tensor  # reflectance-like tone of the darkest print
    white: Tensor
    exposure: Tensor
    saturation: Tensor
    cast: Tensor  # (n, 3, 1, 1) factor of each colour
    pitch: Tensor  # radians a pixel of the halftone screen: 4 to 7 pixels a dot
    halftone: Tensor  # amplitude
    carbon: Tensor  # share of grey printed with carbon black
    paper_ir: Tensor  # infrared reflectance of blank paper
    dye: Tensor  # infrared absorbed by full cyan, magenta and yellow
    keys: Tensor  # (n, 2), of the toner's grain


def draw_printer(draws: Draws, preset: Preset) -> Printer:
    """A printer, paper and inks a row."""
    gamut = preset.print_gamut

    def uniform(low: float, high: float) -> Tensor:
        return draws.uniform(low, high, 1)

    return Printer(
        blur=preset.print_blur * uniform(0.0, 1.0),
        black=uniform(0.0, 1.2 * gamut),
        white=1 - uniform(0.0, 0.8 * gamut),
        exposure=uniform(0.98, 1.18),
        saturation=uniform(1 - 2.5 * gamut, 1.02),
        cast=1 + 3.4 * preset.print_cast * draws.uniform(-0.5, 0.5, 3),
        pitch=uniform(0.9, 1.5),
        halftone=preset.print_halftone * uniform(0.0, 1.0),
        carbon=uniform(*preset.carbon),
        paper_ir=uniform(*preset.paper_ir),
        dye=uniform(*preset.dye),
        keys=draws.words(2),
    )


def printed(image: Tensor, printer: Printer) -> Tensor:
    """What a printed photograph reflects, in visible light and in infrared.

    The printer blurs, compresses the gamut (black and white of the sheet are neither 0 nor 1, colours are duller), adds
    a cast and a halftone screen. In infrared the paper is bright, carbon black absorbs strongly and the dyes hardly at
    all, so that a print shows a pale face or none, by how much of its grey is carbon.

    Args:
        image: photograph, tone-curved, [0, 1], (n, 3, rows, columns).
        printer: paper and inks.

    Returns:
        Reflectance R, G, B, infrared in linear light, (n, 4, rows, columns).
    """
    page = blurred(image, printer.blur).mul_(printer.exposure)
    grey = to_grey(page)
    page.sub_(grey).mul_(printer.saturation).add_(grey).mul_(printer.white - printer.black).add_(printer.black)
    page.mul_(printer.cast).add_(_halftone(printer, *page.shape[2:])).clamp_(0.02, 1.0)
    ink = 1 - page  # cyan, magenta, yellow
    carbon = torch.minimum(torch.minimum(ink[:, :1], ink[:, 1:2]), ink[:, 2:3]).mul_(printer.carbon)
    infrared = printer.paper_ir * (1 - 0.85 * carbon) * (1 - printer.dye * (to_grey(ink) - carbon))
    return torch.cat([power(page, 1.6), infrared], 1)


def _halftone(printer: Printer, rows: int, columns: int) -> Tensor:
    """A dot screen at 45 degrees plus toner grain, (n, 3, rows, columns)."""
    line = torch.arange(rows, device=printer.pitch.device, dtype=torch.float32)[:, None]
    column = torch.arange(columns, device=printer.pitch.device, dtype=torch.float32)
    screen = (printer.pitch * (line + column)).cos_().mul_((printer.pitch * (line - column)).cos_())
    grain = Draws(printer.keys)
    red, green = grain.normal_maps(rows, columns)
    blue, _ = grain.normal_maps(rows, columns)
    return torch.stack([red, green, blue], 1).mul_(0.7).add_(screen).mul_(printer.halftone)


# ---- the printed sheet ----------------------------------------------------------------------------------------------


@dataclass
class Sheet(Rows):
    """A printed face before a real one. Shapes (n, 1, 1) unless stated; lengths in head units, angles in radians."""

    cut: Tensor  # (n, 3, 1, 1): 1 where eyes, nose, mouth are cut out
    holes: Tensor  # (n, 3, 4, 1, 1): centre x, y, half axes of the cut-outs
    bent: Tensor  # 1 = wrapped around a vertical cylinder
    radius: Tensor
    ahead: Tensor  # height over the plane of the face's outline
    wave: Tensor  # amplitude of the ripple
    wave_x: Tensor
    wave_y: Tensor
    phase: Tensor
    bow: Tensor  # slight bend of the flat sheet
    shift_x: Tensor
    shift_y: Tensor
    scale: Tensor  # of the printed face
    gloss: Tensor
    view: View


def draw_sheets(draws: Draws, face: Identity, pose: Pose, kind: Tensor, preset: Preset) -> Sheet:
    """One sheet a row; kind: attack ids (n,)."""
    normal, uniform = draws.normal, draws.uniform
    cut = face.depth.new_tensor([CUT_OUTS.get(k, (0, 0, 0)) for k in range(7)])[kind][..., None, None]
    bent = (kind % 2 == 0).float()[:, None, None]
    holes = face.depth.new_tensor(_HOLES)[..., None, None].repeat(len(kind), 1, 1, 1, 1)
    change = preset.cut * normal(3, 4)
    holes[:, :, :2] += 0.25 * change[:, :, :2] * (holes[:, :, :2] != 0)
    holes[:, :, 2:] *= (1 + change[:, :, 2:]).clamp(0.5, 1.6)
    holes[:, 0, 0] += face.eye_x - EYE[0]
    holes[:, 0, 1] += face.eye_y - EYE[1]
    holes[:, 2, 1] += face.mouth_y - MOUTH_Y
    nose_free = cut[:, 1]
    return Sheet(
        cut=cut,
        holes=holes,
        bent=bent,
        radius=uniform(*preset.curve),
        ahead=face.depth + 0.32 - (0.20 - 0.02 * bent) * nose_free + preset.gap * uniform(0.0, 2.0),
        view=view_of(pose, math.radians(4) * normal(), math.radians(4) * normal()),
        wave=0.02 * normal(),
        wave_x=1.1 * (1 - bent),
        wave_y=2.2 + 0.3 * bent,
        phase=uniform(0.0, 2 * math.pi),
        bow=-0.06 * normal().abs() * (1 - bent),
        shift_x=0.03 * normal(),
        shift_y=0.03 * normal(),
        scale=1 + 0.04 * normal(),
        gloss=uniform(0.0, 1.0),
    )


def sheet_height(sheet: Sheet, x: Tensor, y: Tensor) -> Tensor:
    """Height of the sheet towards the camera, head units."""
    ripple = (sheet.wave_x * x).add_(sheet.wave_y * y).add_(sheet.phase).sin_().mul_(sheet.wave)
    square = x * x
    cylinder = (sheet.radius.square() - square).clamp_(min=0.05).sqrt_().sub_(sheet.radius).mul_(sheet.bent)
    return ripple.addcmul_(square, sheet.bow).add_(cylinder).add_(sheet.ahead)


def on_paper(sheet: Sheet, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates on the printed face (head units) of points on the sheet: arc length around the cylinder."""
    arc = (x / sheet.radius).clamp_(-0.97, 0.97).asin_().mul_(sheet.radius)
    return (arc - x).mul_(sheet.bent).add_(x).div_(sheet.scale), y / sheet.scale


def openings(sheet: Sheet, u: Tensor, v: Tensor, pixel: float) -> Tensor:
    """1 in a cut-out, 0 on paper, soft over about a pixel: superellipses of exponent 3, as cut by hand."""
    opening = torch.zeros_like(u)
    au = u.abs()
    for region in range(3):
        x, y, half_x, half_y = sheet.holes[:, region].unbind(1)
        across = (au - x).abs_().div_(half_x)
        up = (v - y).abs_().div_(half_y)
        excess = across.square().mul_(across).add_(up.square().mul_(up)).sub_(1.0)
        to_edge = excess.mul_((half_x + half_y) * (-1 / 6))  # to first order, head units
        edge = to_edge.mul_(1 / (1.2 * pixel)).add_(0.5).clamp_(0.0, 1.0)
        opening = torch.maximum(opening, edge.mul_(sheet.cut[:, region]))
    return opening


def from_page(pages: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The pages (n, 4, rows, columns) seen at paper coordinates."""
    rows, size = pages.shape[2:]
    down = (HALF_FIELD - v).mul_(size / (HALF_FIELD * rows)).sub_(1.0)
    grid = torch.stack([u / HALF_FIELD, down], 3)
    return grid_sample(pages, grid, align_corners=False, padding_mode="border")

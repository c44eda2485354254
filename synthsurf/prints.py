"""The printed attacks of SynthSURF: how a photograph is printed, and the sheet that is held before a real face."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from synthsurf.draws import Draws, Rows
from synthsurf.faces import EYE, MOUTH_Y, Identity, Pose, View, bell, turned, view_of
from synthsurf.sensors import Crop, Look, blurred, power, smooth_pattern, to_grey

CUT_OUTS = {1: (1, 0, 0), 2: (1, 0, 0), 3: (1, 1, 0), 4: (1, 1, 0), 5: (1, 1, 1), 6: (1, 1, 1)}
"""Attack of Table 1 -> are eyes, nose, mouth cut out. Even attacks are bent sheets, odd ones flat."""

PAGE = 1.38  # half width of a printed page, head units
GRAINS = 72  # of toner across a page: 3 mm
_HOLES = ((0.38, 0.08, 0.20, 0.11), (0.0, -0.14, 0.19, 0.31), (0.0, -0.67, 0.31, 0.15))  # x, y, half axes; head units
_NARROWER = (0.0, 0.45, 0.0)  # how much narrower a cut-out is at its top: a nose is cut as a triangle


@dataclass
class Printer(Rows):
    """How one sheet was printed. Shapes (n, 1, 1, 1) unless stated."""

    blur: Tensor
    black: Tensor  # reflectance-like tone of the darkest print
    white: Tensor
    exposure: Tensor
    saturation: Tensor
    cast: Tensor  # (n, 3, 1, 1) factor of each colour
    grain: Tensor  # amplitude
    carbon: Tensor  # share of grey printed with carbon black
    paper_ir: Tensor  # infrared reflectance of blank paper
    dye: Tensor  # infrared absorbed by full cyan, magenta and yellow
    keys: Tensor  # (n, 2), of the grain


def careful(draws: Draws, care: Tensor, ends: tuple[float, float]) -> Tensor:
    """A value between a careless attacker's and a careful one's: care counts for most of it, chance for the rest."""
    share = care * 0.8 + 0.2 * draws.uniform(0.0, 1.0)
    return ends[0] + (ends[1] - ends[0]) * share


def draw_printer(draws: Draws, look: Look, care: Tensor) -> Printer:
    """A printer, paper and inks a row; care (n, 1, 1) from 0 to 1 says how good the attacker's work is."""

    def chosen(ends: tuple[float, float]) -> Tensor:
        return careful(draws, care, ends)[:, None]

    gamut = chosen(look.print_gamut)
    return Printer(
        blur=chosen(look.print_blur),
        black=0.05 + 1.5 * gamut * draws.uniform(0.0, 1.0, 1),
        white=1 - 0.5 * gamut * draws.uniform(0.0, 1.0, 1),
        exposure=draws.uniform(0.95, 1.12, 1),
        saturation=0.92 - 2.5 * gamut * draws.uniform(0.0, 1.0, 1),
        cast=1 + 2 * look.print_cast * draws.uniform(-0.5, 0.5, 3),
        grain=chosen(look.print_grain),
        carbon=chosen(look.carbon),
        paper_ir=chosen(look.paper_ir),
        dye=chosen(look.dye),
        keys=draws.words(2),
    )


def printed(image: Tensor, printer: Printer) -> Tensor:
    """What a printed photograph (tone-curved, [0, 1], (n, 3, rows, columns)) reflects: R, G, B, infrared, linear light.

    The printer blurs, pales (black and white of the sheet are neither 0 nor 1, colours are duller), adds a cast and a
    coarse grain. In infrared the paper is bright and flat: dyes are nearly clear and carbon black lies thin, so that
    the face is hardly seen.
    """
    page = blurred(blurred(image, printer.blur), printer.blur).mul_(printer.exposure)
    grey = to_grey(page)
    page.sub_(grey).mul_(printer.saturation).add_(grey).mul_(printer.white - printer.black).add_(printer.black)
    page.mul_(printer.cast).add_(_grain(printer, *page.shape[2:])).clamp_(0.02, 1.0)
    ink = 1 - page  # cyan, magenta, yellow
    carbon = torch.minimum(torch.minimum(ink[:, :1], ink[:, 1:2]), ink[:, 2:3]).mul_(printer.carbon)
    infrared = printer.paper_ir * (1 - 0.85 * carbon) * (1 - printer.dye * (to_grey(ink) - carbon))
    return torch.cat([power(page, 1.6), infrared], 1)


def _grain(printer: Printer, rows: int, columns: int) -> Tensor:
    """Uneven toner, of the same size on the paper whatever the pixels, and in some colours more: (n, 3, rows, columns)."""
    draws = Draws(printer.keys)
    coarse, tint = (smooth_pattern(draws, GRAINS, rows, columns) for _ in range(2))
    return torch.stack([coarse + 0.6 * tint, coarse.clone(), coarse - 0.6 * tint], 1).mul_(printer.grain)


@dataclass
class Sheet(Rows):
    """A printed face before a real one. Shapes (n, 1, 1) unless stated; lengths in head units, angles in radians."""

    video: Tensor  # (n, 2): subject and kind, whose page is printed on it
    cut: Tensor  # (n, 3, 1, 1): 1 where eyes, nose, mouth are cut out
    holes: Tensor  # (n, 3, 4, 1, 1): centre x, y, half axes of the cut-outs
    bent: Tensor  # 1 = wrapped around a vertical cylinder
    radius: Tensor
    ahead: Tensor  # height over the plane of the face's outline
    bow: Tensor  # slight bend of the flat sheet
    ridge: Tensor  # height of the blunt fold over the nose
    mould: Tensor  # share of brow, cheeks and chin that the paper takes over
    shift_x: Tensor
    shift_y: Tensor
    scale: Tensor  # of the printed face
    gloss: Tensor
    view: View


def draw_sheets(draws: Draws, face: Identity, pose: Pose, video: Tensor, look: Look, care: Tensor) -> Sheet:
    """One sheet a row, held so that its eyes lie over the living ones; video (n, 2) and care as of a printer."""
    normal, kind = draws.normal, video[:, 1]
    cut = face.depth.new_tensor([CUT_OUTS.get(k, (0, 0, 0)) for k in range(7)])[kind][..., None, None]
    bent = (kind % 2 == 0).float()[:, None, None]
    holes = face.depth.new_tensor(_HOLES)[..., None, None].repeat(len(kind), 1, 1, 1, 1)
    change = 0.06 * normal(3, 4)
    holes[:, :, :2] += 0.25 * change[:, :, :2] * (holes[:, :, :2] != 0)
    holes[:, :, 2:] *= (1 + change[:, :, 2:]) * careful(draws, care, look.cut)[:, None, None]
    holes[:, 0, 0] += face.eye_x - EYE[0]
    holes[:, 0, 1] += face.eye_y - EYE[1]
    holes[:, 2, 1] += face.mouth_y - MOUTH_Y
    nose_free = cut[:, 1]
    view = view_of(pose, math.radians(look.tilt) * normal(), math.radians(look.tilt) * normal())
    touching = face.depth + face.nose * (1 - nose_free) + 0.06 * nose_free  # the nose's tip, or brow and lips
    # the nose pushes the paper out; a larger fold lets it lie on the cheeks
    ridge = (0.07 + careful(draws, care, look.ridge) * (0.6 + 0.4 * bent)) * (1 - 0.7 * nose_free)
    sheet = Sheet(
        video=video,
        cut=cut,
        holes=holes,
        bent=bent,
        radius=careful(draws, care, look.curve),
        ahead=touching + careful(draws, care, look.gap) - ridge * (1 - nose_free),
        view=view,
        bow=-look.bow * normal().abs() * (1 - bent),
        mould=careful(draws, care, look.mould),
        ridge=ridge,
        shift_x=0.02 * normal(),
        shift_y=0.02 * normal(),
        scale=1 + 0.03 * normal(),
        gloss=draws.uniform(0.0, 1.6).square(),
    )
    middle = torch.zeros_like(face.eye_y)
    living_x, living_y = turned(view_of(pose), middle, face.eye_y, 0.85 * face.depth)
    printed_x, printed_y = turned(view, middle, face.eye_y * sheet.scale, sheet.ahead)
    sheet.shift_x += living_x - printed_x
    sheet.shift_y += living_y - printed_y
    return sheet


def sheet_height(sheet: Sheet, x: Tensor, y: Tensor) -> Tensor:
    """Height of the sheet towards the camera, head units."""
    square = x * x
    cylinder = (sheet.radius.square() - square).clamp_(min=0.05).sqrt_().sub_(sheet.radius).mul_(sheet.bent)
    fold = bell(x.clone(), y + 0.28, 0.20, 0.36).mul_(sheet.ridge)  # over the nose
    cylinder.addcmul_(_pressed(x, y), sheet.mould).addcmul_(square, sheet.bow)
    return cylinder.add_(fold).add_(sheet.ahead)


def _pressed(x: Tensor, y: Tensor) -> Tensor:
    """The large forms of an average face: hollow eyes, brow and chin, which paper that is pressed against it takes."""
    eyes = bell(x.abs() - 0.37, y - 0.08, 0.20, 0.14).mul_(-0.13)
    lips, chin = bell(x.clone(), y + 0.67, 0.30, 0.11), bell(x.clone(), y + 1.02, 0.30, 0.16)
    return eyes.add_(lips.mul_(0.06)).add_(chin.mul_(0.10))


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
        up = (v - y).div_(half_y)
        across = (au - x).abs_().div_((up.clamp(-1.0, 1.0) + 1.0).mul_(-_NARROWER[region] / 2).add_(1.0).mul_(half_x))
        up.abs_()
        excess = across.square().mul_(across).add_(up.square().mul_(up)).sub_(1.0)
        to_edge = excess.mul_((half_x + half_y) * (-1 / 6))  # to first order, head units
        edge = to_edge.mul_(1 / (1.2 * pixel)).add_(0.5).clamp_(0.0, 1.0)
        opening = torch.maximum(opening, edge.mul_(sheet.cut[:, region]))
    return opening


def from_page(pages: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The pages (n, 4, rows, columns) seen at paper coordinates."""
    rows, size = pages.shape[2:]
    down = (PAGE - v).mul_(size / (PAGE * rows)).sub_(1.0)
    grid = torch.stack([u / PAGE, down], 3)
    return grid_sample(pages, grid, align_corners=False, padding_mode="border")


def page_crop(like: Tensor) -> Crop:
    """The part of a photograph that is printed: the face in the middle of the page."""
    zoom, middle = torch.full_like(like, 1.0 / PAGE), torch.zeros_like(like)
    return Crop(zoom, zoom.clone(), middle, middle.clone())

"""Environment variables that GDAL must find when it loads; this module loads nothing itself."""

import os

GDAL_CACHE_MIB = 128
"""What GDAL may keep of decoded blocks where no plan says otherwise; its own default is a twentieth of the
machine."""

_SKIPPED = """
AAIGrid, ACE2, ADBC, ADRG, AIG, AirSAR, AIVector, AmigoCloud, Arrow, AVCBin, AVCE00, AVIF, BAG, BASISU,
BIGGIF, BLX, BMP, BSB, BT, BYN, CALS, Carto, CEOS, COASP, COSAR, CPG, CSV, CSW, CTable2, CTG, DAAS, DDS,
DERIVED, DGN, DIMAP, DIPEx, DOQ1, DOQ2, DTED, DXF, ECRGTOC, ECW, EDIGEO, EEDA, EEDAI, EHdr, EIR, ELAS,
Elasticsearch, ENVI, ERS, ESAT, ESRIC, ESRIJSON, EXR, FAST, FIT, GDALG, GenBin, GeoRaster,
GeoRSS, GFF, GIF, GML, GNMDatabase, GNMFile, GPSBabel, GPX, GRASSASCIIGrid, GRIB, GS7BG, GSAG, GSBG, GSC,
GTFS, GTI, GTX, GXF, HDF4, HDF4Image, HDF5, HDF5Image, HEIF, HF2, HFA, HTTP, Idrisi, ILWIS, Interlis 1,
Interlis 2, IRIS, ISCE, ISG, ISIS2, ISIS3, JAXAPALSAR, JDEM, JML, JP2ECW, JP2KAK, JP2MrSID, JPEGXL, JSONFG,
KEA, KML, KMLSUPEROVERLAY, KRO, KTX2, L1B, LAN, LCP, Leveller, LIBERTIFF, LIBKML, LOSLAS, LVBAG, MAP,
MapInfo File, MapML, MBTiles, MFF, MFF2, MiraMonVector, MongoDBv3, MRF, MrSID, MSGN, MSSQLSpatial, MySQL,
NAS, NDF, netCDF, NGSGEOID, NGW, NITF, NOAA_B, NSIDCbin, NTv2, NWT_GRC, NWT_GRD, OAPIF, OCI, ODBC, ODS,
OGCAPI, OGR_GMT, OGR_PDS, OGR_VRT, OpenFileGDB, OSM, OZI, Parquet, PAux, PCIDSK, PCRaster, PDF, PDS, PDS4,
PGDUMP, PLMOSAIC, PLSCENES, PNM, PostGISRaster, PostgreSQL, PRF, R, Rasterlite, RCM, RDB, RIK, RMF, ROI_PAC,
RPFTOC, RRASTER, RS2, RST, S102, S104, S111, S57, SAFE, SAGA, SAR_CEOS, SDTS, Selafin, SENTINEL2, SGI,
SIGDEM, SNAP_TIFF, SNODAS, SOSI, SQLite, SRP, SRTMHGT, STACIT, STACTA, SXF, Terragen, TGA, TIL, TileDB,
TopoJSON, TSX, USGSDEM, VDV, VFK, VICAR, VRT, WAsP, WCS, WEBP, WFS, WMS, WMTS, XLSX, XPM, XYZ, Zarr, ZMap
"""


def gdal_environment(
    *, trust_vrt: bool = False, cache_mib: int = GDAL_CACHE_MIB, threads: int = 1
) -> dict[str, str]:
    """Environment variables that GDAL must find when it loads, here and in every worker process.

    Args:
        trust_vrt: Whether the user vouches for a .vrt, so that the driver for it is there.
        cache_mib: What GDAL may keep of decoded blocks.
        threads: How many of a file's blocks are decoded at a time.
    """
    names = [name.strip() for name in " ".join(_SKIPPED.split()).split(",")]
    skipped = ",".join(name for name in names if not (trust_vrt and name == "VRT"))
    return {
        "GDAL_SKIP": skipped,
        "OGR_SKIP": skipped,
        "GDAL_CACHEMAX": str(cache_mib),
        "GDAL_NUM_THREADS": str(threads),
        # GDAL would print a warning for each of these names that a build of it lacks, and its errors a second
        # time: those that matter come as exceptions.
        "CPL_LOG": os.devnull,
    }
